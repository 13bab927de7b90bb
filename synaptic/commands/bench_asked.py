"""Who bench run asks: the server at an address, or where a prompt for the model goes now."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from synaptic.bench.asked import LLAMA_SERVER, Attempts, at_server, build_of
from synaptic.bench.kept import identity_of
from synaptic.bench.load import Asked
from synaptic.bench.result import Identity, Software
from synaptic.errors import EngineError, UsageError
from synaptic.models.model import LLAMA_CPP, OLLAMA, OPENAI, Model
from synaptic.results import Json, to_json
from synaptic.server_url import endpoint_of, server_url

if TYPE_CHECKING:
    from synaptic.planning.plan import Route
    from synaptic.session import Session


@dataclasses.dataclass(frozen=True)
class Subject:
    """`context`: tokens of one slot, None: not known. `prediction`: of one answer, where the cost model knows the machines."""

    asked: Asked
    model: Identity
    software: Software
    route: Json = None
    prediction: Json = None
    context: int | None = None


async def at_endpoint(session: Session, text: str, model: str | None, key_env: str | None) -> Subject:
    """Raises UsageError, EngineError."""
    from synaptic.engines.openai import OpenAI

    url, key = server_url(text), session.environment.variables.get(key_env) if key_env else None
    if key_env and not key:
        raise UsageError(f"{key_env} is not set", hint=f"export {key_env}=…")
    build = await build_of(url, key)
    software, version = (LLAMA_SERVER, build) if build else await _software(url)
    if model is None:
        if software == "Ollama":
            raise UsageError("an Ollama server has several models", hint="name one with --model")
        served = await OpenAI(url, model="", key=key, stall_seconds=None, remedy="is the server up?").models()
        if len(served) != 1:
            raise UsageError(f"{url} serves {len(served)} models", hint="name one with --model")
        model = served[0]
    asked = at_server(url, model=model, key=key, software=software)
    return Subject(asked, Identity(model, None, about="a server elsewhere: its file is not known"), Software(software, version, url))


@contextlib.asynccontextmanager
async def on_route(session: Session, model: str | None, via: str | None, slots: int) -> AsyncIterator[Subject]:
    """What the model needs is loaded first; until the end its coordinator counts as busy. Raises SynapticError."""
    session.know_backends()
    route = await session.answering.route(model, via=via)
    identity = await asyncio.to_thread(_identity, route.model)
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
    coordinator = await session.coordinators.ensure(plan)
    if not coordinator.url:
        raise EngineError(f"the coordinator of {plan.model.name} is gone", hint="try: coordinator logs")
    software = Software(LLAMA_SERVER, await build_of(coordinator.url, coordinator.key), route.where)
    asked = at_server(coordinator.url, model=plan.model.name, key=coordinator.key, software=LLAMA_SERVER)
    prediction = to_json(route.prediction) if route.prediction and slots == 1 else None
    coordinator.generating += 1
    try:
        yield Subject(asked, identity, software, route.as_json(), prediction, plan.context)
    finally:
        coordinator.generating -= 1


async def _at_node(session: Session, route: Route, identity: Identity) -> Subject:
    url = route.nodes[0]
    key = session.nodes.key(url)
    name = next((offer.name for offer in route.model.offers if offer.node == url), route.model.name)
    build = "" if route.via == OLLAMA else await build_of(url, key)
    software, version = (LLAMA_SERVER, build) if build else await _software(url)
    return Subject(at_server(url, model=name, key=key, software=software), identity, Software(software, version, url), route.as_json())


async def _software(url: str) -> tuple[str, str]:
    """Its name and version. Raises EngineError when nothing answers."""
    from synaptic.cluster.backend import Backend, Kind
    from synaptic.cluster.http import identify

    found = await identify(endpoint_of(url))
    if not isinstance(found, Backend):
        raise EngineError(f"no server of models answers at {url}: {found.detail}", hint="name its address, such as http://10.0.0.5:8000")
    if found.kind is Kind.OLLAMA:
        return "Ollama", found.version or ""
    return found.detail.partition(" · ")[0], ""


def _identity(model: Model) -> Identity:
    if model.path is None:
        digest = next((offer.digest for offer in model.offers if offer.digest), None)
        return Identity(model.name, digest, model.quantization, "the digest that its server states" if digest else "its file is not known")
    sha256, about = identity_of(model.path)
    return Identity(model.name, sha256, model.quantization, about)
