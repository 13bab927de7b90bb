"""From a request to its answer: the model in memory, the client's turn, the stream, and its end whatever happens."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from synaptic.engines.answer import Reply
from synaptic.errors import UsageError
from synaptic.loop import Loop
from synaptic.models.model import BUILTIN, DLLAMA, OLLAMA
from synaptic.planning.plan import Route
from synaptic.results import Json
from synaptic.web.gateway.asked import Asked, Deed
from synaptic.web.gateway.loading import Loading
from synaptic.web.gateway.refusal import NotNowError
from synaptic.web.gateway.sending import CLOSES, Sending
from synaptic.web.gateway.shape import End, Shape, Whole, dumped
from synaptic.web.gateway.turns import Turns

if TYPE_CHECKING:
    from aiohttp import web

    from synaptic.session import Session

SLOW = 60.0  # seconds in which a client must have taken what was sent
GRACE = 3.0  # seconds for answers that are on their way when the gateway closes
LEARNS_EVERY = 10.0  # seconds
MANY, GATHERS = 8, 0.001  # answers at a time, whose tokens come in bursts: looking once in so many seconds costs less
JSON = "application/json; charset=utf-8"


class Answers:
    def __init__(self, session: Session, loading: Loading, turns: Turns, slow: float = SLOW) -> None:
        self._session = session
        self._loading = loading
        self._turns = turns
        self._slow = slow
        self._home = session.environment.home
        self._running: set[asyncio.Task[object]] = set()
        self._writing = 0  # of those that run; the others wait for their model or their turn
        self._closes = False
        self._learned: float | None = None  # when, by a steady clock

    async def answer(self, request: web.Request, asked: Asked, shape: Shape, client: str) -> web.StreamResponse:
        """Raises SynapticError where there is nothing of an answer yet."""
        task = asyncio.current_task()
        assert task
        if self._closes:
            raise NotNowError(CLOSES)
        self._running.add(task)
        try:
            return await self._answer(request, asked, shape, client)
        except asyncio.CancelledError:
            if not self._closes:  # the client left; else there is nothing of an answer yet
                raise
            raise NotNowError(CLOSES) from None
        finally:
            self._running.discard(task)

    async def close(self, grace: float = GRACE) -> None:
        """What is on its way may end; what does not end in time is cut, and says so."""
        self._closes = True
        if self._running:
            await asyncio.wait(self._running, timeout=grace)
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _gather(self, more: int) -> None:
        self._writing += more
        loop = asyncio.get_running_loop()
        if isinstance(loop, Loop):
            loop.gathers = GATHERS if self._writing >= MANY else 0.0

    def _is_due(self) -> bool:
        """Whether to write down what an answer took: that reads and writes a file, and clients may ask very often."""
        before, now = self._learned, time.monotonic()
        is_due = before is None or now - before >= LEARNS_EVERY
        self._learned = now if is_due else before
        return is_due

    async def _answer(self, request: web.Request, asked: Asked, shape: Shape, client: str) -> web.StreamResponse:
        began = time.monotonic()
        route = await self._loading.ready(asked.model)
        loaded = time.monotonic() - began
        _check(route, asked)
        if asked.deed is not Deed.ANSWER and route.via != OLLAMA:
            return _document(shape.whole(Whole("", "", []), End(asked.deed.value)))
        at, slots = (route.model.name, route.plan.slots) if route.plan else (route.nodes[0], len(route.nodes) * 1000)
        async with self._turns.turn(at, slots, client) as over:
            self._gather(1)
            try:
                alone = self._turns.running(at) == 1

                def teaches() -> bool:
                    return alone and self._turns.running(at) <= 1 and self._is_due()

                reply = Reply(self._session.answering, route, asked.messages, like=asked.like, learns=teaches, asks=False)
                sending = Sending(reply, shape, began, loaded, over, self._home)
                if asked.stream:
                    return await sending.stream(request, lambda: self._closes, self._slow)
                return _document(await sending.whole())
            finally:
                self._gather(-1)


def _check(route: Route, asked: Asked) -> None:
    """What the engine of this route has no word for is refused, not dropped."""
    like, name = asked.like, route.model.name
    if route.via in (DLLAMA, BUILTIN) and (not like.is_plain or like.prompt is not None or _has_pictures(asked)):
        raise UsageError(f"{name} is answered by {route.via}, which knows no tools, formats, pictures or plain prompts")
    if route.via == OLLAMA and like.tool_choice:
        raise UsageError(f"{name} is answered by Ollama, which knows no tool_choice but auto and none")
    if asked.deed is Deed.UNLOAD and route.plan:
        raise UsageError(f"{name} lies over workers, and is unloaded by: coordinator stop {name}")


def _has_pictures(asked: Asked) -> bool:
    return any(message.images for message in asked.messages)


def _document(document: Json) -> web.Response:
    from aiohttp import web

    return web.Response(body=dumped(document), headers={"Content-Type": JSON})
