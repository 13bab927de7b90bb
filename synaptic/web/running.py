"""
A command line from the page or a script: same grammar, same results.

    POST /api/run {"line": "rpc list"}                                    the document that --json prints, at the end
    POST /api/run {"line": "…"}, Accept: application/x-ndjson             one JSON object per line, as things come:
        {"type": "head"|"piece"|"line"|"tail", "text"}
        {"type": "result", "json", "view", "exit_code"}    {"type": "error", "error", "exit_code"}

`{"yes": true}` answers every question of the command with yes. A client that goes away ends the command.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import dataclasses
import json
import logging
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from aiohttp import web

from synaptic.commands import load
from synaptic.commands.reading import read, take_flags
from synaptic.errors import SynapticError, UsageError
from synaptic.results import Json, Leave, Lines, Outcome, Result, Stream, Watch, closing, to_json
from synaptic.services import agreed
from synaptic.terminal import one_line, visible
from synaptic.web.view import view

if TYPE_CHECKING:
    from synaptic.session import Session

LONGEST = 256 * 1024  # bytes of a request
MOST_LINES = 10_000  # of a log, in one document
NDJSON = "application/x-ndjson"
is_asked_here: contextvars.ContextVar[bool] = contextvars.ContextVar("is_asked_here", default=False)  # the command was sent by a page
_STATUS = {"usage": 400, "backend": 502, "engine": 502}
_logger = logging.getLogger(__name__)
Frame = dict[str, Json]


@dataclasses.dataclass(frozen=True)
class Order:
    line: str
    yes: bool = False


async def run(request: web.Request, session: Session) -> web.StreamResponse:
    order = await _order(request)
    is_asked_here.set(True)  # in this request's own context
    agreed.set(order.yes)
    if NDJSON in request.headers.get("Accept", ""):
        return await _stream(request, frames(session, order))
    last: Frame = {}
    async with contextlib.aclosing(frames(session, order, waits=True)) as told:
        async for frame in told:
            last = frame
    error = last.get("error")
    status = _STATUS.get(str(error.get("kind")), 500) if isinstance(error, dict) else 200
    body = last.get("json", {"error": error})
    return web.json_response(body, status=status, headers={"X-Exit-Code": str(last.get("exit_code", 0))})


async def confirm(question: str) -> bool:
    """For a command that was started here; there is nobody to ask but whoever sent it."""
    if agreed.get():
        return True
    raise UsageError(question, hint="confirm to go on: --yes")


async def frames(session: Session, order: Order, *, waits: bool = False) -> AsyncGenerator[Frame, None]:
    """`waits`: nothing is told before the end, so a result that is asked for again is asked for once."""
    try:
        line, flags = take_flags(load(), order.line.strip(), "--yes", "--json")
        if "--yes" in flags:
            agreed.set(True)
        if not line:
            raise UsageError("the line is empty", hint="try: help")
        result = await read(load(), line).run(session)
        async with contextlib.aclosing(_frames_of(result, waits)) as told:
            async for frame in told:
                yield frame
    except SynapticError as error:
        yield _failed(error)
    except Exception as error:  # what no command foresaw ends neither the shell nor its page
        _logger.error("something went wrong inside", exc_info=error)
        yield _failed(
            SynapticError(f"something went wrong inside: {one_line(f'{type(error).__name__}: {error}')}", hint="try: logs synaptic")
        )


async def _frames_of(result: Result, waits: bool) -> AsyncGenerator[Frame, None]:
    match result:
        case Stream():
            yield {"type": "head", "text": visible(result.head)}
            async with closing(result.pieces):
                async for piece in result.pieces:
                    yield {"type": "piece", "text": visible(piece)}
            outcome = result.outcome()
            yield {"type": "tail", "text": visible(outcome.tail)}
            yield _ended(outcome)
        case Lines():
            async for frame in _lines(result):
                yield frame
        case Watch():
            yield _shown(await result.again())
            while not waits:
                await asyncio.sleep(result.seconds)
                yield {**_shown(await result.again()), "again": True}
        case Leave():
            raise UsageError("the shell cannot be left from here", hint="dashboard off closes this page's server")
        case _:
            yield _shown(result)


async def _lines(result: Lines) -> AsyncGenerator[Frame, None]:
    said: collections.deque[Json] = collections.deque(maxlen=MOST_LINES)
    async with closing(result.lines):
        async for line in result.lines:
            said.append(line)
            yield {"type": "line", "text": visible(line)}
    yield _shown(result.after()) if result.after else {"type": "result", "json": {result.key: list(said)}, "exit_code": 0}


def _shown(result: Result) -> Frame:
    assert not isinstance(result, Lines | Stream | Watch)
    return {"type": "result", "json": to_json(result.as_json()), "view": view(result), "exit_code": getattr(result, "exit_code", 0)}


def _ended(outcome: Outcome) -> Frame:
    error = to_json(outcome.error.as_json()["error"]) if outcome.error else None
    document = {**(outcome.data if isinstance(outcome.data, dict) else {}), **({"error": error} if error else {})}
    frame: Frame = {"type": "result", "json": document, "exit_code": outcome.error.exit_code if outcome.error else 0}
    return frame | ({"error": error} if error else {})


def _failed(error: SynapticError) -> Frame:
    told = to_json(error.as_json()["error"])
    details: list[Json] = [visible(line) for line in error.details[-20:]]
    return {"type": "error", "error": told, "exit_code": error.exit_code, "details": details, "prefill": getattr(error, "prefill", None)}


async def _order(request: web.Request) -> Order:
    if request.content_type != "application/json":  # a form of another page cannot send this without being asked first
        raise web.HTTPUnsupportedMediaType(reason="Send application/json")
    try:
        document = json.loads(await request.text())
        line, yes = document["line"], document.get("yes", False)
        if not isinstance(line, str) or not isinstance(yes, bool) or "\0" in line:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        raise web.HTTPBadRequest(reason='Send {"line": "a command"}') from None
    return Order(line, yes)


async def _stream(request: web.Request, told: AsyncGenerator[Frame, None]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": NDJSON, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"})
    async with contextlib.aclosing(told):
        await response.prepare(request)
        async for frame in told:
            await response.write(json.dumps(frame).encode() + b"\n")  # ASCII: some readers take U+2028 for the end of a line
    await response.write_eof()
    return response
