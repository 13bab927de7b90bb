"""Who bench run asks: the server at an address, or where a prompt for the model goes now."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from synaptic.bench.coordinator import held
from synaptic.bench.identity import identity_of
from synaptic.bench.load.asked import GATEWAY, Attempts, at_server, build_of, gateway_of, is_loaded
from synaptic.bench.load.sending import Asked
from synaptic.bench.result import Identity, Software
from synaptic.bench.telemetry.scrape import queue_of, scrape
from synaptic.cluster.software import LLAMA_SERVER, OLLAMA_NAME, VLLM
from synaptic.errors import EngineError, UsageError
from synaptic.models.model import LLAMA_CPP, OLLAMA, OPENAI
from synaptic.results import Json
from synaptic.server_url import server_url, without_path

if TYPE_CHECKING:
    from synaptic.planning.expected import Expectation
    from synaptic.planning.plan import Plan, Route
    from synaptic.session import Session

WITHIN = 5.0  # seconds for a server to say what it is


@dataclasses.dataclass(frozen=True)
class Subject:
    """
    `context`: tokens of one slot, None: not known. `expectation`: where the cost model knows the machines. `others`: answers
    that the server writes for somebody else already. `url` and `key`: of the server, where there is one.
    """

    asked: Asked
    model: Identity
    software: Software
    route: Json = None
    context: int | None = None
    expectation: Expectation | None = None
    url: str | None = None
    key: str | None = None
    others: int = 0
    is_loaded: bool | None = None

    @property
    def has_metrics(self) -> bool:
        return self.url is not None and self.software.engine in (LLAMA_SERVER, VLLM)


async def at_endpoint(session: Session, text: str, model: str | None, key_env: str | None) -> Subject:
    """With the key of a node that is known, where `key_env` names none. Raises UsageError, EngineError."""
    from synaptic.engines.openai import OpenAI

    url = server_url(text)
    key = session.environment.variables.get(key_env) if key_env else session.nodes.key(url)
    if key_env and not key:
        raise UsageError(f"{key_env} is not set", hint=f"export {key_env}=…")
    build = await build_of(url, key)
    software, version = (LLAMA_SERVER, build) if build else await _software(url, key)
    if model is None:
        if software == OLLAMA_NAME:
            raise UsageError("an Ollama server has several models", hint="name one with --model")
        served = await OpenAI(url, model="", key=key, stall_seconds=None, remedy="is the server up?").models()
        if len(served) != 1:
            raise UsageError(f"{url} serves {len(served)} models", hint="name one with --model")
        model = served[0]
    identity = Identity(model, None, about="a server elsewhere: its file is not known")
    return await _at_server(url, key, model, Software(software, version, url), identity)


@contextlib.asynccontextmanager
async def on_route(session: Session, model: str | None, via: str | None, slots: int) -> AsyncIterator[Subject]:
    """What the model needs is loaded first; until the end its coordinator counts as busy. Raises SynapticError."""
    session.know_backends()
    route = await session.answering.route(model, via=via)
    identity = await asyncio.to_thread(identity_of, route.model)
    if route.via == LLAMA_CPP and route.plan:
        async with _coordinator(session, route, identity, slots) as subject:
            yield subject
    elif route.via in (OLLAMA, OPENAI):
        yield await _at_node(session, route, identity)
    else:
        context = route.plan.context if route.plan else None
        software = Software(route.via, "", route.where)
        yield Subject(Attempts(session.answering, route), identity, software, route.as_json(), context=context)


@contextlib.asynccontextmanager
async def _coordinator(session: Session, route: Route, identity: Identity, slots: int) -> AsyncIterator[Subject]:
    assert route.plan
    plan = dataclasses.replace(route.plan, slots=slots)
    expectation = await expectation_of(session, plan)
    async with held(session.coordinators, plan) as server:
        yield Subject(
            asked=at_server(server.url, model=plan.model.name, key=server.key, software=LLAMA_SERVER),
            model=identity,
            software=Software(LLAMA_SERVER, await build_of(server.url, server.key), route.where),
            route=route.as_json(),
            context=plan.context,
            expectation=expectation,
            url=server.url,
            key=server.key,
            others=int(server.was_busy),
            is_loaded=True,
        )


async def expectation_of(session: Session, plan: Plan) -> Expectation | None:
    """What the cost model expects of a plan over machines as they are known now. None: of one of them nothing is known."""
    from synaptic.planning.expected import expected
    from synaptic.planning.shape import Shape

    workers = [record for record in session.pool.records() if record.endpoint in plan.workers]
    here, machines = await asyncio.to_thread(session.machines, workers)
    header = await asyncio.to_thread(session.catalog.header, plan.model)
    return expected(plan, Shape.of(header), [*machines, here])


async def _at_node(session: Session, route: Route, identity: Identity) -> Subject:
    url = route.nodes[0]
    key = session.nodes.key(url)
    name = next((offer.name for offer in route.model.offers if offer.node == url), route.model.name)
    build = "" if route.via == OLLAMA else await build_of(url, key)
    software, version = (LLAMA_SERVER, build) if build else await _software(url, key)
    return await _at_server(url, key, name, Software(software, version, url), identity, route.as_json())


async def _at_server(url: str, key: str | None, model: str, software: Software, identity: Identity, route: Json = None) -> Subject:
    asked = at_server(url, model=model, key=key, software=software.engine)
    queue = queue_of(await scrape(f"{without_path(url)}/metrics", key))
    others = round(queue.running + queue.waiting) if queue else 0
    loaded = await is_loaded(url, key, model) if software.engine == OLLAMA_NAME else None
    return Subject(asked, identity, software, route, url=url, key=key, others=others, is_loaded=loaded)


async def _software(url: str, key: str | None) -> tuple[str, str]:
    """Its name and version. Raises EngineError when nothing answers."""
    from synaptic.cluster.asking import Heard, look
    from synaptic.cluster.backend import Kind

    if version := await gateway_of(url, key):
        return GATEWAY, version
    found = await look(without_path(url), Kind.OLLAMA, key=key, within=WITHIN)
    if isinstance(found, Heard):
        return found.software, found.version
    is_locked = "wants a key" in found.detail
    hint = "--key-env names the variable with its key" if is_locked else "name its address, such as http://10.0.0.5:8000"
    raise EngineError(f"no server of models answers at {url}: {found.detail}", hint=hint)
