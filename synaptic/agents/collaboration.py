"""
A question answered by a team: researcher and critic, rounds of refinement, and an editor who writes the answer.

    voices + critic  →  refinement 1 … n: (critic reads the draft), researcher rewrites it  →  editor

A part that fails is said to have failed and the others go on without it. Without an editor the newest draft is the
answer; without any draft and any point of a critic there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Callable

from synaptic.agents import roles
from synaptic.agents.cast import Cast
from synaptic.agents.part import Part
from synaptic.agents.place import Speaks
from synaptic.agents.roles import CRITIC, EDITOR, RESEARCHER, VOICE, Task
from synaptic.errors import EngineError
from synaptic.events import Bus, Noticed
from synaptic.results import Json, Outcome, plural
from synaptic.terminal import one_line

SILENT = "it said nothing"


@dataclasses.dataclass(frozen=True)
class Terms:
    strategy: str
    rounds: int  # of refinement
    within: float  # seconds for each part


class Collaboration:
    """Iterate `pieces`, then ask for the `outcome`, as with a reply. `remember(text, complete)` is called once, at the end."""

    def __init__(self, speaks: Speaks, task: Task, cast: Cast, terms: Terms, bus: Bus, remember: Callable[[str, bool], None]) -> None:
        self.text = ""
        self._speaks = speaks
        self._task = task
        self._cast = cast
        self._terms = terms
        self._bus = bus
        self._remember = remember
        self._parts: list[Part] = []
        self._answer: Part | None = None  # whose words the user reads

    @property
    def head(self) -> str:
        """The plan in one line."""
        cast, rounds = self._cast, self._terms.rounds
        when = " at the same time" if cast.together and (cast.critic or len(cast.voices) > 1) else ""
        who = f"{RESEARCHER} and {CRITIC}{when}" if cast.critic else f"{plural(len(cast.voices), VOICE)}{when}"
        refining = f", {plural(rounds, 'refinement')}" if rounds and cast.critic else ""
        return f"→ {who}{refining}, then the {EDITOR} ({cast.editor.model}) · {self._terms.strategy} ({cast.why})"

    async def pieces(self) -> AsyncGenerator[str, None]:
        """The editor's words as they come. Raises EngineError if there is nothing at all to say."""
        try:
            await self._first_words()
            await self._refine()
            async with contextlib.aclosing(self._edit()) as pieces:
                async for piece in pieces:
                    self.text += piece
                    yield piece
        finally:
            draft = self._draft
            kept = self.text or (draft.text if draft else "")  # whoever interrupts keeps what was written until then
            self._remember(kept, bool(self.text) and self._answer is not None and self._answer.is_complete)

    def outcome(self) -> Outcome:
        answer = self._answer
        document = answer.document if answer else {}
        phases: list[Json] = [part.as_json() for part in self._parts]
        data: Json = {**document, "text": self.text, "strategy": self._terms.strategy, "phases": phases}
        tail = " · ".join(filter(None, (answer.tail if answer else "", self._who_wrote())))
        return Outcome(data, tail, answer.error if answer else None)

    def _who_wrote(self) -> str:
        """`researcher 2.1 s (ollama at a), critic 1.9 s (ollama at b), …`; one place for all is named once."""
        places = {part.served_by for part in self._parts}
        if len(places) == 1 and (place := places.pop()):
            return f"{', '.join(map(str, self._parts))} · {place}"
        return ", ".join(f"{part} ({part.served_by})" if part.served_by else str(part) for part in self._parts)

    @property
    def _draft(self) -> Part | None:
        """The newest words of a researcher or voice; what broke off only where nothing is whole."""
        drafts = [part for part in reversed(self._parts) if part.role in (RESEARCHER, VOICE) and part.text.strip()]
        return next((part for part in drafts if part.is_complete), drafts[0] if drafts else None)

    @property
    def _points(self) -> str:
        return next((part.text for part in reversed(self._parts) if part.role == CRITIC and part.text.strip()), "")

    async def _first_words(self) -> None:
        cast, task = self._cast, self._task
        if cast.critic:
            parts = [Part(RESEARCHER, cast.voices[0], roles.research(task)), Part(CRITIC, cast.critic, roles.criticise(task))]
        else:
            parts = [Part(VOICE, place, roles.answer(task)) for place in cast.voices]
        if cast.together:
            await self._play(*parts)
        else:
            for part in parts:
                await self._play(part)
        if self._draft is None and not self._points:
            raise self._failure()

    async def _refine(self) -> None:
        """The first round follows the points that are there already; later ones a new look at the draft."""
        critic, researcher = self._cast.critic, self._cast.voices[0]
        for number in range(1, self._terms.rounds + 1):
            draft = self._draft
            if critic is None or draft is None:
                return
            if number > 1 or not self._points:
                reviewed = await self._play(Part(CRITIC, critic, roles.review(self._task, draft.text), refinement=number))
                if not reviewed:
                    return
            revision = roles.revise(self._task, draft.text, self._points)
            if not await self._play(Part(RESEARCHER, researcher, revision, refinement=number)):
                return

    async def _edit(self) -> AsyncGenerator[str, None]:
        editor = self._answer = Part(EDITOR, self._cast.editor, roles.edit(self._task, self._answers(), self._points))
        self._parts.append(editor)
        with self._bus.work(f"the {EDITOR} writes the answer"):
            async with contextlib.aclosing(editor.pieces(self._speaks, self._terms.within)) as pieces:
                async for piece in pieces:
                    yield piece
        if not editor.text.strip():
            draft = self._draft
            if draft is None:
                raise self._failure()
            self._answer = draft
            self._tell(editor, "; this is one of the answers" if draft.role == VOICE else f"; this is the draft of the {draft.role}")
            yield draft.text

    def _answers(self) -> list[str]:
        if self._cast.critic:
            return [draft.text] if (draft := self._draft) else []
        return [part.text for part in self._parts if part.text.strip()]

    async def _play(self, *parts: Part) -> bool:
        """All at the same time; whether all came to their end."""
        self._parts += parts
        names = " and ".join(dict.fromkeys(part.role for part in parts))
        with self._bus.work(f"{names} at work"):
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(part.speak(self._speaks, self._terms.within))
        for part in parts:
            if part.error:
                self._tell(part)
        return all(part.is_complete for part in parts)

    def _tell(self, part: Part, consequence: str = "") -> None:
        at = f" ({part.served_by})" if part.served_by else ""
        how = "broke off" if part.text else "failed"
        text = f"the {part.role}{at} {how}: {one_line(str(part.error or SILENT))}{consequence}"
        self._bus.publish(Noticed(text=text, attention=True))

    def _failure(self) -> EngineError:
        said = "; ".join(f"{part.role}: {one_line(str(part.error or SILENT))}" for part in self._parts)
        hint = next((part.error.hint for part in self._parts if part.error and part.error.hint), "try: retry, or: collab off")
        return EngineError(f"no agent came to an answer: {said}", hint=hint)
