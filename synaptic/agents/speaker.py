"""The engines as a collaboration sees them: places to speak at, each part asked anew where its model is now."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Sequence

from synaptic.agents.place import Place, Speech
from synaptic.cluster.node import NodeState
from synaptic.engines.answer import Reply
from synaptic.engines.answering import Answering
from synaptic.engines.engine import Message
from synaptic.errors import SynapticError
from synaptic.models.model import Offer
from synaptic.planning.plan import Route, context_of

_EMBEDDING = ("bert", "embed", "minilm", "bge")  # models that cannot talk are called so


class Speaker:
    """`nodes()`: what is known of them now; `via`: the engine the user named."""

    def __init__(self, answering: Answering, nodes: Callable[[], Sequence[NodeState]], via: str | None = None) -> None:
        self._answering = answering
        self._nodes = nodes
        self._via = via

    async def places(self, model: str | None) -> list[Place]:
        route = await self._answering.route(model, via=self._via)
        context = context_of(route.model, self._answering.values().context)
        ready = {state.node.url: state for state in self._nodes() if state.is_ready}
        also = [offer.node for offer in route.model.offers if offer.node in ready] if route.nodes and not self._via else []
        urls = dict.fromkeys((*route.nodes, *also)) or {"": None}  # first those of the best kind, then the other servers
        return [Place(route.model.name, url, context, url in ready and ready[url].has_gpu) for url in urls]

    def others(self, used: Collection[str]) -> list[Place]:
        """One for each ready node: a model that is loaded, else its largest."""
        places: list[Place] = []
        for state in self._nodes():
            talking = [offer for offer in state.offers if _talks(offer)]
            if talking and state.is_ready and state.node.url not in used:
                best = max(talking, key=lambda offer: (offer.is_loaded, offer.parameters, offer.bytes))
                places.append(Place(best.name, state.node.url, has_gpu=state.has_gpu))
        return places

    async def speak(self, place: Place, messages: tuple[Message, ...]) -> Speech:
        """Routed now, not when the team was cast: since then a worker may have gone."""
        route = await self._route(place)
        if route.plan:
            with contextlib.suppress(SynapticError):  # the reply meets it again, and knows another way
                await self._answering.coordinators.ensure(route.plan)
        return Reply(self._answering, route, messages, remember=lambda text, complete: None)

    async def _route(self, place: Place) -> Route:
        """To the node of this place, where it is still ready; else to the best."""
        route = await self._answering.route(place.model, via=self._via)
        kind = next((state.node.kind for state in self._nodes() if state.node.url == place.node and state.is_ready), None)
        if kind and place.node not in route.nodes:
            route = await self._answering.route(place.model, via=kind.value)
        if place.node not in route.nodes:
            return route
        return dataclasses.replace(route, nodes=(place.node, *(url for url in route.nodes if url != place.node)))


def _talks(offer: Offer) -> bool:
    return not any(word in f"{offer.name} {offer.family}".lower() for word in _EMBEDDING)
