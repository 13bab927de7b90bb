"""Our root over real, unmodified workers says what the real root says over as many, token by token."""

from __future__ import annotations

import asyncio

import pytest
from dllama.answering import QUESTION, our_root
from dllama.cpp import DEMO, cpp_root, cpp_workers  # noqa: F401 - a fixture
from dllama.synthetic import KINDS, write_model
from dllama.workers import HOST as OURS
from dllama.workers import launched  # noqa: F401 - a fixture

from synaptic.dllama.running import Pass
from synaptic.dllama.spreading import Split, Spreading
from synaptic.dllama.wire import Peer

pytestmark = [pytest.mark.anyio, pytest.mark.live]
LONG = " ".join(["hello world the system and the user is it to of"] * 5)  # several batches
STEPS = 140


@pytest.fixture(params=KINDS)
def model(request, tmp_path):
    return write_model(tmp_path / f"{request.param}.m", request.param)


async def real(model, workers, prompt, steps, *words):
    return await asyncio.to_thread(cpp_root, model, [each.peer for each in workers], prompt, steps, *words)


@pytest.mark.parametrize("count", [1, 3])
async def test_shares_over_real_workers_give_the_real_roots_tokens(model, count, cpp_workers):  # noqa: F811
    workers = cpp_workers(count)
    expected = await real(model, workers, LONG, STEPS)
    for worker in workers:
        worker.wait_until_free()
    ours = await our_root(model, Spreading(tuple(each.peer for each in workers), Split.TENSOR), LONG, STEPS)
    assert ours == expected
    assert len(ours) > 10
    for worker in workers:
        worker.wait_until_free()  # alive, and ready for the next


@pytest.mark.parametrize("layers", [(6,), (1, 5), (3, 1, 2)])
async def test_layers_over_real_workers_give_the_tokens_of_one_node(model, layers, cpp_workers):  # noqa: F811
    expected = await real(model, [], LONG, STEPS)
    workers = cpp_workers(len(layers))
    ours = await our_root(model, Spreading(tuple(each.peer for each in workers), Split.LAYERS, layers=layers), LONG, STEPS)
    assert ours == expected
    for worker in workers:
        worker.wait_until_free()


async def test_five_workers_and_this_machine_share_the_layers(model, cpp_workers):  # noqa: F811
    """More than its tensors could be cut into, and not a power of two."""
    expected = await real(model, [], QUESTION, 30)
    peers = tuple(each.peer for each in cpp_workers(5))
    assert await our_root(model, Spreading(peers, Split.LAYERS, layers=(1, 1, 1, 1, 1), here=1), QUESTION, 30) == expected


async def test_layers_are_spread_by_measured_speed(model, cpp_workers):  # noqa: F811
    expected = await real(model, [], QUESTION, 30)
    facts = []
    peers = tuple(each.peer for each in cpp_workers(2))
    assert await our_root(model, Spreading(peers, Split.LAYERS), QUESTION, 30, tell=facts.append) == expected
    last = [fact for fact in facts if isinstance(fact, Pass)][-1]
    assert len(last.traffic) == 2
    assert all(each.sent > each.received > 0 for each in last.traffic)


@pytest.mark.parametrize("words", [("0.8", "7"), ("1.5", "123")])
async def test_alone_it_draws_what_the_real_one_draws(model, words):
    temperature, seed = words
    expected = await real(model, [], QUESTION, 60, "--temperature", temperature, "--seed", seed)
    assert await our_root(model, Spreading(), QUESTION, 60, temperature=float(temperature), seed=int(seed)) == expected


async def test_real_workers_and_our_own_share_one_model(model, cpp_workers, launched):  # noqa: F811
    real_ones = cpp_workers(3)
    expected = await real(model, real_ones, LONG, STEPS), await real(model, [], LONG, STEPS)
    for worker in real_ones:
        worker.wait_until_free()
    mixed = (real_ones[0].peer, Peer(OURS, launched().port), real_ones[1].peer)
    assert await our_root(model, Spreading(mixed, Split.TENSOR), LONG, STEPS) == expected[0]
    assert await our_root(model, Spreading(mixed, Split.LAYERS, layers=(1, 3, 1), here=1), LONG, STEPS) == expected[1]


async def test_the_demo_model_alone_and_shared(cpp_workers):  # noqa: F811
    model, workers = DEMO / "demo-q40.m", cpp_workers(1)
    for split, real_workers in ((Split.TENSOR, workers), (Split.LAYERS, [])):
        expected = await real(model, real_workers, QUESTION, 80)
        workers[0].wait_until_free()
        assert await our_root(model, Spreading((workers[0].peer,), split), QUESTION, 80) == expected
        workers[0].wait_until_free()
