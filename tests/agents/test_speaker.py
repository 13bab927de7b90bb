"""Which places there are to speak at, and where a part is sent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from synaptic.agents.place import Place
from synaptic.agents.speaker import Speaker
from synaptic.cluster.backend import Kind, State
from synaptic.cluster.node import Node, NodeState
from synaptic.engines.answer import Reply
from synaptic.engines.engine import Message
from synaptic.errors import BackendError
from synaptic.models.model import OLLAMA, OPENAI, Model, Offer
from synaptic.planning.plan import Route
from synaptic.settings.values import Values

pytestmark = pytest.mark.anyio
A, B, C = (f"http://127.0.0.{number}:11434" for number in (1, 2, 3))
QUESTION = (Message("user", "why?"),)


def offer(url: str, name: str = "m", engine: str = OLLAMA, parameters: int = 0, family: str = "", is_loaded: bool = False) -> Offer:
    return Offer(name, url, engine, parameters=parameters, family=family, is_loaded=is_loaded)


def node(*offers: Offer, health: str = "ready", has_gpu: bool = False) -> NodeState:
    kind = Kind.OLLAMA if offers[0].engine == OLLAMA else Kind.OPENAI
    return NodeState(Node(offers[0].node, kind), State.IDLE, health, offers=offers, has_gpu=has_gpu)


class Routing:
    """Answers as the real one does for a model that is only at nodes: the ready ones of one kind, in their order."""

    def __init__(self, nodes: Sequence[NodeState]) -> None:
        self.nodes = nodes

    def values(self) -> Values:
        return Values(context=1000)

    async def route(self, model: str | None = None, *, via: str | None = None) -> Route:
        name = model or "m"
        having = [each for each in self.nodes if each.is_ready and any(offer.name == name for offer in each.offers)]
        wanted = [each for each in having if each.node.kind.value == (via or having[0].node.kind.value)]
        if not wanted:
            raise BackendError(f"no server that has {name} is ready")
        offers = tuple(offer for each in self.nodes for offer in each.offers if offer.name == name)
        model_ = Model(name, "node", None, "", 0, 0, 0, 4096, "", 0, (OLLAMA, OPENAI), offers=offers)
        return Route(wanted[0].node.kind.value, model_, "", nodes=tuple(each.node.url for each in wanted))


def speaker(*nodes: NodeState) -> Speaker:
    return Speaker(Routing(nodes), lambda: nodes)  # type: ignore[arg-type]  # of Answering it needs no more


async def sent(speaker: Speaker, place: Place) -> tuple[str, tuple[str, ...]]:
    reply = await speaker.speak(place, QUESTION)
    assert isinstance(reply, Reply)
    return reply.route.via, reply.route.nodes


async def test_every_ready_server_is_a_place_the_best_kind_first() -> None:
    here = speaker(node(offer(B), has_gpu=True), node(offer(A, engine=OPENAI)), node(offer(C), health="lost"))
    assert await here.places("m") == [Place("m", B, 1000, has_gpu=True), Place("m", A, 1000)]


async def test_a_part_goes_to_its_place_and_to_the_others_only_after_it() -> None:
    here = speaker(node(offer(A)), node(offer(B)), node(offer(C, engine=OPENAI)))
    assert await sent(here, Place("m", B)) == ("ollama", (B, A))
    assert await sent(here, Place("m", C)) == ("openai", (C,))


async def test_a_place_that_is_gone_since_gives_way_to_the_best() -> None:
    here = speaker(node(offer(A)), node(offer(B), health="resting"))
    assert await sent(here, Place("m", B)) == ("ollama", (A,))


async def test_other_nodes_are_asked_with_a_model_that_talks() -> None:
    here = speaker(
        node(offer(A)),
        node(offer(B, "big", parameters=70), offer(B, "small", parameters=7, is_loaded=True), offer(B, "nomic-embed-text", is_loaded=True)),
        node(offer(C, "small", parameters=7), offer(C, "bge", parameters=99, family="bert"), offer(C, "big", parameters=70), has_gpu=True),
        node(offer("http://127.0.0.4:11434", "embedder", family="nomic-bert")),
        node(offer("http://127.0.0.5:11434", "m"), health="lost"),
    )
    assert here.others({A}) == [Place("small", B), Place("big", C, has_gpu=True)]
