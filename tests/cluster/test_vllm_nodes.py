"""A vLLM among the servers: it proves itself, tells how it is, and counts for that."""

from __future__ import annotations

import pytest
from vllms import METRICS

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.http import identify
from synaptic.cluster.node import Node, NodeState
from synaptic.cluster.nodes import Nodes
from synaptic.cluster.server_load import ServerLoad
from synaptic.endpoint import Endpoint
from synaptic.events import Bus

pytestmark = pytest.mark.anyio
LONG = 20.0  # seconds for a look that must succeed on a busy machine


def nodes(*urls: str, keys: dict[str, str] | None = None, clock: list[float] | None = None) -> Nodes:
    known = [Node(url, Kind.OPENAI, key_variable="VLLM_KEY") for url in urls]
    now = clock or [0.0]
    return Nodes(lambda: known, Bus(), keys=keys or {}, clock=lambda: now[0])


async def look(url: str, **more: dict[str, str]) -> NodeState:
    [state] = await nodes(url, **more).refresh(within=LONG)
    return state


async def test_it_is_known_with_its_version_its_model_and_its_load(vllmfake) -> None:
    state = await look(vllmfake("--metrics", METRICS, "--running", 3, "--waiting", 2, "--kv", 0.5, "--model", "Qwen/Qwen3-8B"))
    assert (state.software, state.version, state.health, state.is_ready) == ("vLLM", "0.32.0", "ready", True)
    [offer] = state.offers
    assert (offer.name, offer.context, offer.is_loaded) == ("Qwen/Qwen3-8B", 512, True)
    assert state.load is not None
    assert (state.load.running, state.load.waiting, state.load.kv_used) == (3, 2, 0.5)
    record = state.as_json()
    assert isinstance(record, dict)
    assert record["load"]["ttft"].keys() == {"p50", "p90"}
    assert (record["load"]["running"], record["load"]["preemptions"]) == (3, 0)


async def test_a_dead_engine_behind_a_server_that_answers_is_no_server(vllmfake) -> None:
    state = await look(vllmfake("--metrics", METRICS, "--health", 503))
    assert (state.state, state.health, state.load) == (State.UNREACHABLE, "down", None)
    assert state.detail == "vLLM 0.32.0 says that its engine is dead: it has to be started again"


async def test_one_that_tells_no_numbers_is_used_all_the_same(vllmfake) -> None:
    state = await look(vllmfake())
    assert (state.software, state.version, state.health, state.load) == ("vLLM", "0.32.0", "ready", None)


async def test_a_name_alone_proves_nothing(vllmfake) -> None:
    """A proxy repeats what the server behind it says of its models."""
    url = vllmfake("--version", "")
    state = await look(url)
    assert (state.software, state.version, state.health) == ("OpenAI-compatible", "", "ready")
    assert not state.offers[0].is_loaded
    found = await identify(Endpoint.parse(url.removeprefix("http://")), within=LONG)
    assert isinstance(found, Backend)
    assert (found.version, found.detail) == (None, "OpenAI-compatible · 1 model (tiny)")


async def test_without_a_version_its_numbers_prove_it(vllmfake) -> None:
    state = await look(vllmfake("--version", "", "--metrics", METRICS))
    assert (state.software, state.version, state.load is not None) == ("vLLM", "", True)


async def test_its_key_is_sent_and_never_told(vllmfake) -> None:
    url = vllmfake("--key", "sesame-7", "--metrics", METRICS)
    assert (await look(url)).detail == "HTTP server (uvicorn), wants a key"
    state = await look(url, keys={"VLLM_KEY": "sesame-7"})
    assert state.is_ready
    assert "sesame-7" not in repr(state) + str(state.as_json())


async def test_it_is_looked_at_while_it_works_for_us(vllmfake) -> None:
    """Others may ask it too; a server that tells no load is left alone meanwhile."""
    clock = [0.0]
    known = nodes(telling := vllmfake("--metrics", METRICS), silent := vllmfake(), clock=clock)
    await known.refresh(within=LONG)
    async with known.serving(telling, "tiny"), known.serving(silent, "tiny"):
        seen = {state.node.url: state.last_seen for state in known.states()}
        clock[0] += 60.0
        after = {state.node.url: state.last_seen for state in await known.refresh(max_age=5.0, within=LONG)}
    assert after[telling] != seen[telling]
    assert after[silent] == seen[silent]


async def test_what_it_told_is_forgotten_when_it_is_gone(vllmfake) -> None:
    states = await nodes(vllmfake("--metrics", METRICS, "--health", 503), vllmfake("--metrics", METRICS)).refresh(within=LONG)
    assert states[0].load is None
    assert isinstance(states[1].load, ServerLoad)
