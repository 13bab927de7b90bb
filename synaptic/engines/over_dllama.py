"""An answer from a dllama-api of ours, whose model is cut over dllama workers. It answers one at a time: others wait."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import AsyncGenerator, Sequence

from synaptic.engines.attempt import Overcome
from synaptic.engines.dllama_api import DllamaApi
from synaptic.engines.engine import Chunk, LostError, Request, StalledError
from synaptic.engines.openai import LONGEST_STALL
from synaptic.errors import EngineError, RefusedError
from synaptic.events import Bus, Noticed
from synaptic.planning.plan import Plan
from synaptic.process.dllama_api import TROUBLE_WITHIN, DllamaCoordinator
from synaptic.process.dllama_apis import DllamaApis

PROMPT_PATIENCE = 10  # times the patience between tokens: a long prompt is read before the first one


class OverDllama:
    def __init__(self, plan: Plan, apis: DllamaApis, bus: Bus, *, stall_seconds: float | None) -> None:
        self.load_seconds: float | None = None
        self.overcame: Sequence[Overcome] = ()
        self._plan = plan
        self._apis = apis
        self._bus = bus
        self._stall_seconds = stall_seconds
        self._coordinator: DllamaCoordinator | None = None
        self._has_begun = self._is_refused = False

    async def chunks(self, request: Request, written: Sequence[Chunk]) -> AsyncGenerator[Chunk, None]:
        """What follows `written` comes from a new answer that begins with the same words, as one at temperature 0 does."""
        began = time.monotonic()
        coordinator = self._coordinator = await self._apis.ensure(self._plan)
        self.load_seconds = time.monotonic() - began
        async with self._turn(coordinator):
            self._mind_temperature(coordinator, request)
            answer = self._server(coordinator).generate(request)
            async with contextlib.aclosing(after(answer, "".join(chunk.text for chunk in written))) as chunks:
                try:
                    async for chunk in chunks:
                        self._has_begun = True
                        yield chunk
                except RefusedError:
                    self._is_refused = True
                    raise

    async def is_worth_another(self) -> bool:
        """One that breaks off before its first word lost a worker, or listens and never answers again: only a new one helps."""
        if self._coordinator is None or self._is_refused:
            return False
        had_trouble = await self._coordinator.settled(within=TROUBLE_WITHIN)
        if not had_trouble and not self._has_begun:
            await self._coordinator.stop()
        return had_trouble or not self._has_begun

    async def explained(self, error: EngineError, *, kept: bool) -> EngineError:
        """The engine's own error, or the lost worker behind it, by its name."""
        coordinator = self._coordinator
        if self._is_refused or (coordinator is None and not self._named(str(error))):
            return error
        if coordinator is None:  # it did not come up
            return LostError(str(error), lost=self._named(str(error)), hint=error.hint, details=error.details)
        if isinstance(error, StalledError):
            cause = f"{error}; {await self._frozen(coordinator)}"
        elif await coordinator.settled(within=TROUBLE_WITHIN):
            cause = coordinator.lost or coordinator.child.cause or "dllama-api lost its workers, and has them again"
        else:
            return error
        stays = "; what was written so far stays" if kept else ""
        details = tuple(coordinator.child.last_words)[-5:]
        return LostError(f"the answer broke off: {cause}{stays}", lost=self._named(cause), hint="try: retry", details=details)

    def _named(self, cause: str) -> tuple[str, ...]:
        return tuple(str(worker) for worker in self._plan.workers if str(worker) in re.split(r"[ ,]", cause))

    @contextlib.asynccontextmanager
    async def _turn(self, coordinator: DllamaCoordinator) -> AsyncGenerator[None, None]:
        coordinator.generating += 1
        try:
            if coordinator.turn.locked():
                with self._bus.work(f"waiting: {self._plan.model.name} answers someone else, and dllama one at a time"):
                    await coordinator.turn.acquire()
            else:
                await coordinator.turn.acquire()
            try:
                yield
            finally:
                coordinator.turn.release()
        finally:
            coordinator.generating -= 1

    def _mind_temperature(self, coordinator: DllamaCoordinator, request: Request) -> None:
        runs_at, wanted = coordinator.start.temperature, request.temperature
        if wanted is not None and wanted != runs_at:
            runs = "its own" if runs_at is None else f"{runs_at:g}"
            text = f"dllama answers at the temperature it was started with ({runs}), not {wanted:g}; coordinator restart takes it"
            self._bus.publish(Noticed(text=text))

    async def _frozen(self, coordinator: DllamaCoordinator) -> str:
        """Stop it, and say which workers then do not listen again."""
        with self._bus.work(f"stopping {self._plan.model.name}, which says nothing any more"):
            await coordinator.stop()
            frozen = await coordinator.absent()
        if len(frozen) < 2:
            return f"worker {frozen[0]} does not listen again" if frozen else "its coordinator was stopped"
        return f"one worker is frozen, and others wait for it: {', '.join(map(str, frozen))}"

    def _server(self, coordinator: DllamaCoordinator) -> DllamaApi:
        if coordinator.url is None:
            raise EngineError(f"{self._plan.model.name} was stopped", hint="try: retry")
        return DllamaApi(
            coordinator.url,
            model=self._plan.model.name,
            key=None,
            stall_seconds=self._stall_seconds,
            first_token_seconds=(self._stall_seconds or LONGEST_STALL) * PROMPT_PATIENCE,
        )


async def after(answer: AsyncGenerator[Chunk, None], written: str) -> AsyncGenerator[Chunk, None]:
    """The answer less the words that were shown before. Raises EngineError when it is another one."""
    async with contextlib.aclosing(answer) as chunks:
        async for chunk in chunks:
            known = chunk.text[: len(written)]
            if not written.startswith(known) or (chunk.finish_reason and written):
                raise EngineError("the answer cannot be continued: the new one has other words", hint="try: retry")
            written = written[len(known) :]
            if chunk.text == known and known and not chunk.finish_reason:
                continue
            yield chunk if not known else _cut(chunk, len(known))


def _cut(chunk: Chunk, count: int) -> Chunk:
    return chunk._replace(text=chunk.text[count:])
