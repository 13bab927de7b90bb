"""The routes of the dashboard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from synaptic import __version__
from synaptic.web import llama_events, metrics, node_events, pages, running
from synaptic.web.message import Message
from synaptic.web.security import guard, port_of, proof
from synaptic.web.wiring import Wiring

if TYPE_CHECKING:
    from synaptic.session import Session

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HEALTH = "/api/health"
LONGEST_NONCE = 100  # characters
READS = ("/api/dashboard", "/metrics")  # open on loopback: they change nothing and hold no secret


def make(session: Session, wiring: Wiring, *, hosts: Sequence[str], token: str, reads_are_open: bool) -> web.Application:
    files = pages.load()
    open_paths = {*files, HEALTH, *(READS if reads_are_open else ())}
    app = web.Application(middlewares=[guard(hosts, token, open_paths)], client_max_size=running.LONGEST)
    for path, file in files.items():
        app.router.add_get(path, partial(pages.answer, file=file))
    app.router.add_get(HEALTH, partial(_health, token))
    app.router.add_get("/api/dashboard", partial(_dashboard, wiring))
    app.router.add_get("/metrics", partial(_metrics, wiring))
    app.router.add_post("/api/run", partial(running.run, session=session))
    for path, handler in _sockets(wiring).items():
        app.router.add_get(path, handler)
    return app


def _sockets(wiring: Wiring) -> dict[str, Handler]:
    serve = wiring.sockets.serve

    async def snapshots(request: web.Request) -> web.StreamResponse:
        return await serve(request, wiring.snapshots, [wiring.pulse.text()])

    async def logs(request: web.Request) -> web.StreamResponse:
        return await serve(request, wiring.logs)

    async def nodes(request: web.Request) -> web.StreamResponse:
        return await serve(request, wiring.nodes, [Message(node_events.COMPONENT, "info", node_events.GREETING).text()])

    async def llama(request: web.Request) -> web.StreamResponse:
        return await serve(request, wiring.llama, [Message(llama_events.SYSTEM, "info", llama_events.GREETING).text()])

    return {"/ws/dashboard": snapshots, "/ws/logs": logs, "/ws/ollama_logs": nodes, "/ws/llama_cpp_logs": llama}


async def _health(token: str, request: web.Request) -> web.Response:
    """With `?prove=NONCE`, also proof that this server knows the token: a page that comes back gives it to no stranger."""
    document = {"status": "healthy", "service": "synaptic", "version": __version__}
    nonce = request.query.get("prove", "")[:LONGEST_NONCE]
    return web.json_response(document | ({"proof": proof(token, nonce, port_of(request))} if nonce else {}))


async def _dashboard(wiring: Wiring, request: web.Request) -> web.Response:
    return web.Response(text=wiring.pulse.text(), content_type="application/json")


async def _metrics(wiring: Wiring, request: web.Request) -> web.Response:
    body = wiring.meters.render(wiring.session, wiring.activity)
    return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})
