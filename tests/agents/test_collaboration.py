"""How a team comes to an answer, and what it says of itself when agents fail. The engine is a few lines, given by hand."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncGenerator, Collection, Sequence

import pytest

from synaptic.agents.cast import cast
from synaptic.agents.collaboration import Collaboration, Terms
from synaptic.agents.place import Place, Speech
from synaptic.agents.roles import Task
from synaptic.engines.engine import Message
from synaptic.errors import EngineError
from synaptic.events import Bus, Noticed, WorkStarted
from synaptic.results import Json, Outcome

pytestmark = pytest.mark.anyio
HERE, THERE = Place("m", "http://127.0.0.1:1"), Place("m", "http://127.0.0.2:1")
FOREVER = 3600.0


@dataclasses.dataclass
class Saying:
    """`breaks`: after so many words; `hangs` likewise, until nobody listens any more."""

    words: str
    served_by: str
    breaks: int | None = None
    hangs: int | None = None
    said: int = 0
    error: EngineError | None = None

    async def pieces(self) -> AsyncGenerator[str, None]:
        for word in self.words.split():
            if self.said == self.breaks:
                self.error = EngineError("the wire was cut")
                if not self.said:
                    raise self.error
                return
            if self.said == self.hangs:
                await asyncio.sleep(FOREVER)
            await asyncio.sleep(0)
            self.said += 1
            yield word + " "

    def outcome(self) -> Outcome:
        complete = self.said == len(self.words.split())
        data: dict[str, Json] = {"model": "m", "complete": complete, "usage": {"completion_tokens": self.said}}
        return Outcome(data, f"{self.said} tokens", self.error)


class Engine:
    """`script`: role → what its turns are, one after the other; without one it says its role and number."""

    def __init__(self, **script: Sequence[dict[str, object]]) -> None:
        self.asked: list[tuple[str, Place, str]] = []  # role, place, what it was given
        self.meet: asyncio.Barrier | None = None
        self._script = {role: list(turns) for role, turns in script.items()}

    async def places(self, model: str | None) -> Sequence[Place]:
        return [HERE, THERE]

    def others(self, used: Collection[str]) -> Sequence[Place]:
        return []

    async def speak(self, place: Place, messages: tuple[Message, ...]) -> Speech:
        role = next((word for word in ("researcher", "critic", "editor") if f"the {word} of a team" in messages[0].content), "voice")
        self.asked.append((role, place, messages[-1].content))
        if self.meet and role != "editor":
            await self.meet.wait()
        turn = self._script[role].pop(0) if self._script.get(role) else {}
        if turn.get("unreachable"):
            raise EngineError(f"nothing answers at {place.node}", hint="try: nodes health")
        number = sum(each[0] == role for each in self.asked)
        saying = Saying(f"{role} {number}", place.node.removeprefix("http://"))
        return dataclasses.replace(saying, **turn)  # type: ignore[arg-type]

    @property
    def roles(self) -> list[str]:
        return [role for role, _, _ in self.asked]


class Team:
    def __init__(self, engine: Engine, strategy: str = "auto", places: Sequence[Place] = (HERE, THERE), **more: float) -> None:
        self.bus = Bus()
        self.remembered: list[tuple[str, bool]] = []
        terms = Terms(strategy, int(more.get("rounds", 0)), more.get("within", FOREVER))
        task = Task("why?", (Message("user", "before"), Message("assistant", "long ago")), "be brief")
        team = cast(strategy, places)
        self.work = Collaboration(engine, task, team, terms, self.bus, lambda *turn: self.remembered.append(turn))

    async def answer(self) -> str:
        return "".join([piece async for piece in self.work.pieces()])

    @property
    def document(self) -> dict[str, Json]:
        data = self.work.outcome().data
        assert isinstance(data, dict)
        return data

    @property
    def phases(self) -> list[tuple[object, ...]]:
        phases = self.document["phases"]
        assert isinstance(phases, list)
        keys = ("role", "round", "served_by", "tokens", "complete", "error")
        return [tuple(phase[key] for key in keys) for phase in phases if isinstance(phase, dict)]

    async def until(self, tokens: int) -> None:
        """Until the agents have said so many words in all."""
        while sum(int(str(phase[3])) for phase in self.phases) < tokens:
            await asyncio.sleep(0)

    @property
    def noticed(self) -> list[str]:
        return [event.text for event in self.bus.history if isinstance(event, Noticed)]


async def test_the_editors_words_are_the_answer_and_every_phase_is_accounted_for() -> None:
    team = Team(Engine(), rounds=2)
    assert await team.answer() == "editor 1 "
    assert team.phases == [
        ("researcher", 0, "127.0.0.1:1", 2, True, None),
        ("critic", 0, "127.0.0.2:1", 2, True, None),
        ("researcher", 1, "127.0.0.1:1", 2, True, None),
        ("critic", 2, "127.0.0.2:1", 2, True, None),
        ("researcher", 2, "127.0.0.1:1", 2, True, None),
        ("editor", 0, "127.0.0.1:1", 2, True, None),
    ]
    assert (team.document["text"], team.document["complete"], team.document["strategy"]) == ("editor 1 ", True, "auto")
    assert team.remembered == [("editor 1 ", True)]
    assert team.work.head == "→ researcher and critic at the same time, 2 refinements, then the editor (m) · auto (2 nodes are ready)"
    assert re.match(r"2 tokens · researcher [0-9.]+ m?s \(127.0.0.1:1\), critic [0-9.]+ m?s \(127.0.0.2:1\), ", team.work.outcome().tail)
    assert next(event.what for event in team.bus.history if isinstance(event, WorkStarted)) == "researcher and critic at work"
    assert team.noticed == []


async def test_each_agent_gets_what_the_ones_before_it_wrote() -> None:
    engine = Engine()
    await Team(engine, rounds=2).answer()
    given = [text for _, _, text in engine.asked]
    assert given[:2] == ["why?", "why?"]
    assert given[2] == "Question:\nwhy?\n\nDraft:\nresearcher 1 \n\nThe critic's points:\ncritic 1 "
    assert given[3] == "Question:\nwhy?\n\nDraft:\nresearcher 2 "
    assert given[4] == "Question:\nwhy?\n\nDraft:\nresearcher 2 \n\nThe critic's points:\ncritic 2 "
    assert given[5] == "Question:\nwhy?\n\nDraft:\nresearcher 3 \n\nThe critic's points:\ncritic 2 "


async def test_two_nodes_work_at_the_same_time() -> None:
    engine = Engine()
    engine.meet = asyncio.Barrier(2)  # each waits for the other: one after the other would wait for ever
    async with asyncio.timeout(30):
        assert await Team(engine, "parallel").answer() == "editor 1 "
    engine.meet = asyncio.Barrier(2)
    async with asyncio.timeout(30):
        assert await Team(engine, "multi").answer()


async def test_one_place_works_one_after_the_other() -> None:
    engine = Engine(researcher=[{"hangs": 1}])
    team = Team(engine, places=[HERE])
    asking = asyncio.create_task(team.answer())
    await team.until(tokens=1)
    assert engine.roles == ["researcher"]
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_one_place_for_all_is_named_once() -> None:
    team = Team(Engine(), places=[HERE])
    await team.answer()
    assert re.match(r"2 tokens · researcher [0-9.]+ m?s, critic [0-9.]+ m?s, editor [0-9.]+ m?s · 127.0.0.1:1$", team.work.outcome().tail)


async def test_multi_asks_all_without_a_role_and_the_editor_reads_every_answer() -> None:
    engine = Engine()
    team = Team(engine, "multi", rounds=3)
    assert await team.answer() == "editor 1 "
    assert engine.roles == ["voice", "voice", "editor"]
    assert engine.asked[-1][2] == "Question:\nwhy?\n\nAnswer 1:\nvoice 1 \n\nAnswer 2:\nvoice 2 "
    assert team.work.head == "→ 2 voices at the same time, then the editor (m) · multi (2 answers to choose from)"


async def test_a_critic_that_fails_is_said_to_have_failed_and_the_rest_goes_on() -> None:
    engine = Engine(critic=[{"unreachable": True}, {"unreachable": True}])
    team = Team(engine, rounds=2)
    assert await team.answer() == "editor 1 "
    assert engine.roles == ["researcher", "critic", "critic", "editor"], "a draft nobody criticises is not rewritten"
    assert team.phases[1] == ("critic", 0, None, 0, False, "nothing answers at http://127.0.0.2:1")
    assert team.noticed[0] == "the critic failed: nothing answers at http://127.0.0.2:1"
    assert team.work.outcome().error is None
    assert "critic failed" in team.work.outcome().tail


async def test_without_a_researcher_the_editor_works_from_the_points() -> None:
    engine = Engine(researcher=[{"breaks": 0}])
    team = Team(engine, rounds=2)
    assert await team.answer() == "editor 1 "
    assert engine.roles == ["researcher", "critic", "editor"]
    assert engine.asked[-1][2] == "Question:\nwhy?\n\nThe critic's points:\ncritic 1 "
    assert team.noticed == ["the researcher (127.0.0.1:1) failed: the wire was cut"]


async def test_a_refinement_that_breaks_off_leaves_the_whole_draft() -> None:
    engine = Engine(researcher=[{}, {"breaks": 1}])
    team = Team(engine, rounds=3)
    await team.answer()
    assert engine.roles == ["researcher", "critic", "researcher", "editor"]
    assert "Draft:\nresearcher 1 \n" in engine.asked[-1][2]
    assert team.noticed == ["the researcher (127.0.0.1:1) broke off: the wire was cut"]


@pytest.mark.parametrize(("fault", "why"), [({"unreachable": True}, "nothing answers"), ({"breaks": 0}, "cut"), ({"words": ""}, "nothing")])
async def test_without_an_editor_the_draft_is_the_answer_and_that_is_said(fault: dict[str, object], why: str) -> None:
    team = Team(Engine(editor=[fault]), rounds=1)
    assert await team.answer() == "researcher 2 "
    assert why in team.noticed[0]
    assert "this is the draft of the researcher" in team.noticed[0]
    assert team.phases[-1][4] is not None
    assert team.work.outcome().error is None
    assert team.remembered == [("researcher 2 ", True)]


async def test_an_editor_that_breaks_off_leaves_what_it_wrote_and_an_error() -> None:
    team = Team(Engine(editor=[{"breaks": 1}]))
    assert await team.answer() == "editor "
    assert str(team.work.outcome().error) == "the wire was cut"
    assert (team.document["text"], team.document["complete"]) == ("editor ", False)
    assert team.remembered == [("editor ", False)]


async def test_when_all_fail_there_is_no_answer_but_every_reason() -> None:
    engine = Engine(researcher=[{"unreachable": True}], critic=[{"breaks": 0}])
    team = Team(engine, rounds=2)
    with pytest.raises(EngineError, match="researcher: nothing answers at http://127.0.0.1:1; critic: the wire was cut") as caught:
        await team.answer()
    assert caught.value.hint == "try: nodes health"
    assert engine.roles == ["researcher", "critic"]
    assert team.remembered == [("", False)]


@pytest.mark.parametrize("role", ["researcher", "critic"])
async def test_an_agent_that_takes_too_long_is_left_behind(role: str) -> None:
    team = Team(Engine(**{role: [{"hangs": 1}]}), within=1.0)
    assert await team.answer() == "editor 1 "
    assert team.noticed == [f"the {role} (127.0.0.{1 if role == 'researcher' else 2}:1) broke off: it was not done after 1 s"]
    assert team.phases[role == "critic"][3:5] == (1, False)


async def test_time_in_which_nobody_reads_is_not_the_editors() -> None:
    team = Team(Engine(), within=1.0)
    async for _ in team.work.pieces():
        await asyncio.sleep(1.0)
    assert team.document["text"] == "editor 1 "
    assert team.noticed == []


@pytest.mark.parametrize(
    ("role", "said", "kept"), [("researcher", 3, "researcher "), ("critic", 3, "researcher 1 "), ("editor", 5, "editor ")]
)
async def test_an_interruption_ends_every_agent_and_keeps_what_was_written(role: str, said: int, kept: str) -> None:
    before = asyncio.all_tasks()
    team = Team(Engine(**{role: [{"hangs": 1}]}))
    asking = asyncio.create_task(team.answer())
    await team.until(said)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert team.remembered == [(kept, False)]
    assert asyncio.all_tasks() == before
