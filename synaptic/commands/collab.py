"""collab: a team of agents answers instead of one model, and how it works."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import models
from synaptic.commands.grammar import Choice, Complete, Completion
from synaptic.commands.registry import registry
from synaptic.errors import SynapticError
from synaptic.events import Noticed
from synaptic.results import Note, Stream, plural
from synaptic.settings.keys import STRATEGIES
from synaptic.terminal import one_line

if TYPE_CHECKING:
    from synaptic.agents.place import Place, Speaks
    from synaptic.session import Session

FOR_THE_CONVERSATION = 0.25  # of the context; the rest is for what the agents write
NONE = "none"


def synthesis_models(session: Session) -> list[Completion]:
    return [(NONE, "the model that answers"), *models(session)]


@registry.command("collab", group="answers")
async def collab(session: Session, switch: Annotated[str, Choice("on", "off")] = "") -> Note:
    """Let a team answer: a researcher and a critic, rounds of refinement, and an editor who writes the answer.

    Without a word it shows how the team is set up. Each agent's node, time and tokens are told after the answer.

        collab on
        refine 2
        synthesis llama3.1:70b
        strategy parallel

    See also: refine, synthesis, strategy, timeout
    """
    if switch:
        await session.save(collaborative_mode=switch == "on")
    return _state(session)


@registry.command("refine", group="answers")
async def refine(session: Session, rounds: int | None = None) -> Note:
    """How often the researcher rewrites the draft after the critic's points, 0 to 5. Counts while collab is on.

        refine 2
        refine 0

    See also: collab, strategy, timeout
    """
    if rounds is not None:
        await session.save(refinement_rounds=rounds)
    return _state(session)


@registry.command("synthesis", group="answers")
async def synthesis(session: Session, model: Annotated[str | None, Complete(synthesis_models)] = None) -> Note:
    """Which model the editor of a team uses; `none`: the one that answers. Counts while collab is on.

        synthesis llama3.1:70b
        synthesis none

    See also: collab, refine, strategy
    """
    if model is None:
        return _state(session)
    found = None if model.lower() == NONE else (await asyncio.to_thread(session.catalog.find, model)).name
    await session.save(synthesis_model=found)
    return _state(session)


@registry.command("strategy", group="answers")
async def strategy(session: Session, name: Annotated[str, Choice(*STRATEGIES)] = "") -> Note:
    """How the agents of a team are spread over the nodes. Counts while collab is on.

        strategy auto       researcher and critic at the same time where two nodes are ready, else one after the other
        strategy single     one answer, without agents
        strategy parallel   researcher and critic at the same time, on different nodes where there are two
        strategy multi      the same question to several nodes and models, and a synthesis of their answers
        strategy gpu        as auto, on nodes with a GPU where there is one

    See also: collab, nodes list
    """
    if name:
        await session.save(strategy=name)
    return _state(session)


@registry.command("timeout", group="answers")
async def timeout(session: Session, seconds: int | None = None) -> Note:
    """How long each agent of a team may take, in seconds, at least 30; loading the model does not count.

        timeout 600

    See also: collab, refine, strategy
    """
    if seconds is not None:
        await session.save(agent_timeout=seconds)
    return _state(session)


def collaborates(session: Session) -> bool:
    """Whether a prompt is for the team now."""
    values = session.settings.now
    return values.collaborative_mode and values.strategy != "single"


async def agents_stream(session: Session, question: str, model: str | None = None, via: str | None = None) -> Stream:
    """The team's answer. It joins the conversation as any answer does. Raises SynapticError when nothing can answer."""
    from synaptic.agents import roles
    from synaptic.agents.cast import cast
    from synaptic.agents.collaboration import Collaboration, Terms
    from synaptic.agents.speaker import Speaker

    session.know_backends()
    values, conversation = session.settings.now, session.conversation
    speaker = Speaker(session.answering, session.nodes.states, via)
    try:
        places = await speaker.places(model)
    except SynapticError:
        conversation.add(question, "", complete=False)  # retry asks it again
        raise
    before = conversation.messages(question, None, int(places[0].context * FOR_THE_CONVERSATION))[:-1]
    used = {place.node for place in places}
    team = cast(values.strategy, places, editor=await _editor(session, speaker), others=lambda: speaker.others(used))
    answer = Collaboration(
        speaker,
        roles.Task(question, before, values.system_prompt),
        team,
        Terms(values.strategy, values.refinement_rounds, values.agent_timeout),
        session.bus,
        remember=lambda text, complete: conversation.add(question, text, complete=complete),
    )
    return Stream(answer.head, answer.pieces(), answer.outcome)


async def _editor(session: Session, speaker: Speaks) -> Place | None:
    """The place of the synthesis model; where it cannot be reached, the answer is written without it."""
    if (name := session.settings.now.synthesis_model) is None:
        return None
    try:
        return (await speaker.places(name))[0]
    except SynapticError as error:
        text = f"the synthesis model {one_line(name, 60)} cannot answer: {error}; the editor uses the other one"
        session.bus.publish(Noticed(text=text, attention=True))
        return None


def _state(session: Session) -> Note:
    values = session.settings.now
    team = f"strategy {values.strategy} · {plural(values.refinement_rounds, 'refinement')}"
    editor = f"editor {one_line(values.synthesis_model, 60)}" if values.synthesis_model else "editor with the same model"
    text = f"collab {'on' if values.collaborative_mode else 'off'} · {team} · {editor} · {values.agent_timeout} s for each agent"
    keys = ("collaborative_mode", "refinement_rounds", "synthesis_model", "strategy", "agent_timeout")
    return Note(text, {key: getattr(values, key) for key in keys}, hint=_hint(session))


def _hint(session: Session) -> str | None:
    values = session.settings.now
    if not values.collaborative_mode:
        return "one model answers alone. try: collab on"
    return "with strategy single one model answers alone" if values.strategy == "single" else "just ask"
