"""What is there: every model that can be asked for, those in memory, and all that is known of one."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from typing import TYPE_CHECKING

from synaptic.engines.answering import NODES_FRESH
from synaptic.models.model import Model, Offer
from synaptic.planning.plan import Plan
from synaptic.process.child import State
from synaptic.process.coordinator import Coordinator
from synaptic.results import Json

if TYPE_CHECKING:
    from synaptic.session import Session

Object = dict[str, Json]
FOREVER = "2318-01-01T00:00:00Z"  # what stays until it is stopped; Ollama writes a moment as far away for "keep_alive": -1
_UNITS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


class Listing:
    def __init__(self, session: Session) -> None:
        self._session = session

    async def models(self) -> list[Model]:
        await self._session.nodes.refresh(max_age=NODES_FRESH)
        return list((await asyncio.to_thread(self._session.catalog.survey)).models)

    async def tags(self) -> Json:
        return {"models": [{**named(model), "modified_at": moment(model.modified)} for model in await self.models()]}

    async def ps(self) -> Json:
        """Of our coordinators, and of what the nodes said is in memory there."""
        session = self._session
        session.coordinators.look()
        held: list[Json] = [_held(each) for each in session.coordinators.all() if each.state is State.READY]
        held += [_planned(each.plan) for each in session.dllama_apis.all() if each.state is State.READY]
        for model in await self.models():
            loaded = [offer for offer in model.offers if offer.is_loaded]
            held += [_at_node(model, offer) for offer in loaded]
        return {"models": held}

    async def cards(self) -> Json:
        return {"object": "list", "data": [card(model) for model in await self.models()]}


def card(model: Model) -> Object:
    """As OpenAI describes a model."""
    return {"id": model.name, "object": "model", "created": int(model.modified), "owned_by": model.source}


def named(model: Model) -> Object:
    return {"name": model.name, "model": model.name, "size": model.bytes, "digest": _digest(model), "details": details(model)}


def details(model: Model) -> Object:
    form = model.path.suffix.lstrip(".") if model.path and model.path.suffix in (".gguf", ".m") else "gguf" if model.path else ""
    return {
        "parent_model": "",
        "format": form,
        "family": model.architecture,
        "families": [model.architecture] if model.architecture else [],
        "parameter_size": size_of(model.parameters),
        "quantization_level": model.quantization,
        "context_length": model.context,
    }


def size_of(parameters: int) -> str:
    """`8.0B`, as Ollama writes it."""
    for unit, letter in _UNITS:
        if parameters >= unit:
            share = parameters / unit
            return f"{share:.0f}{letter}" if share >= 100 else f"{share:.1f}{letter}" if unit >= 10**9 else f"{share:.2f}{letter}"
    return str(parameters) if parameters else ""


def _held(coordinator: Coordinator) -> Object:
    shares = coordinator.shares()
    size = sum(share.model_bytes + share.kv_bytes for share in shares)
    away = sum(share.model_bytes + share.kv_bytes for share in shares if share.endpoint in map(str, coordinator.plan.workers))
    return _planned(coordinator.plan) | {"size": size, "size_vram": away}


def _at_node(model: Model, offer: Offer) -> Object:
    until = offer.loaded_until or FOREVER  # the other servers hold what they serve
    return {**named(model), "size_vram": offer.on_gpu, "expires_at": until, "context_length": model.context, "node": offer.node}


def _planned(plan: Plan) -> Object:
    return {**named(plan.model), "size_vram": 0, "expires_at": FOREVER, "context_length": plan.context}


def _digest(model: Model) -> str:
    """Clients take it for the identity of a version, and cut it: without one of a registry it is made of name, size and date."""
    known = next((offer.digest for offer in model.offers if offer.digest), "")
    return known or hashlib.sha256(f"{model.name}\0{model.bytes}\0{model.modified}".encode()).hexdigest()


def moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")
