"""Workers that go away: they are named, the others live on, and the answer does too."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket

import pytest
from dllama.answering import QUESTION, our_root, sampling
from dllama.cpp import HOST, TOKENIZER, WITHIN, cpp_root, cpp_workers  # noqa: F401 - a fixture
from dllama.synthetic import write_model
from dllama.workers import HOST as OURS
from dllama.workers import launched  # noqa: F401 - a fixture
from ports import free_port

from synaptic.dllama.generate import Generator
from synaptic.dllama.measure import measure
from synaptic.dllama.running import Lost
from synaptic.dllama.spreading import Split, Spreading
from synaptic.dllama.to_worker import EMPTY_NET, EMPTY_NODE, LostWorkerError, address, connect, prove
from synaptic.dllama.wire import Hello, Peer

pytestmark = [pytest.mark.anyio, pytest.mark.live]


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "llama.m")


@pytest.fixture
def sixths(tmp_path):
    """For two nodes as well as for three."""
    return write_model(tmp_path / "sixths.m", dim=192, hidden=384, heads=6, kv_heads=6)


def absent() -> Peer:
    return Peer(HOST, free_port(HOST))


async def survivors(workers):
    """The processes that still answer a root."""
    found = []
    for worker in workers:
        if worker.process.poll() is None:
            await asyncio.to_thread(prove, worker.peer)
            found.append(worker)
    return found


@pytest.mark.parametrize("split", [Split.TENSOR, Split.LAYERS])
async def test_one_that_is_not_there_is_named_and_the_others_are_not_harmed(split, model, cpp_workers):  # noqa: F811
    workers, gone = cpp_workers(2), absent()
    peers = (workers[0].peer, workers[1].peer, gone)
    with pytest.raises(LostWorkerError, match="refuses connections") as caught:
        await our_root(model, Spreading(peers, split, layers=(2, 2, 2)))
    assert caught.value.worker == gone
    assert await survivors(workers) == workers


@pytest.mark.parametrize("split", [Split.TENSOR, Split.LAYERS])
async def test_one_that_is_killed_is_named_and_the_answer_goes_on(split, model, cpp_workers):  # noqa: F811
    undisturbed = await asyncio.to_thread(cpp_root, model, [], QUESTION, 100)
    workers, facts, pieces = cpp_workers(3), [], []
    peers = tuple(each.peer for each in workers)
    generator = Generator(model, TOKENIZER, Spreading(peers, split, layers=(2, 3, 1)), tell=facts.append)
    async with contextlib.aclosing(generator), asyncio.timeout(WITHIN):
        async for piece in generator.generate(QUESTION, sampling(QUESTION, 100)):
            pieces.append(piece)
            if len(pieces) == 10:
                workers[1].process.kill()
    lost = {fact.worker: fact.others for fact in facts if isinstance(fact, Lost)}
    assert address(peers[1]) in lost
    if split is Split.LAYERS:
        assert lost == {address(peers[1]): (address(peers[0]), address(peers[2]))}
    assert len(pieces) == len(undisturbed)
    assert pieces[-1].finish == "length"
    for worker in (workers[0], workers[2]):  # shares are sent from worker to worker: a real one may end by writing to one that is gone
        if worker.process.poll() is not None:
            assert (split, worker.process.returncode) == (Split.TENSOR, -signal.SIGPIPE)
        else:
            await asyncio.to_thread(prove, worker.peer)


async def test_an_answer_that_goes_on_elsewhere_is_the_same(model, cpp_workers):  # noqa: F811
    workers, whole = cpp_workers(2), await our_root(model, Spreading(), steps=60)
    peers, said = tuple(each.peer for each in workers), []
    generator = Generator(model, TOKENIZER, Spreading(peers, Split.LAYERS, layers=(3, 3)))
    async with contextlib.aclosing(generator):
        async for piece in generator.generate(QUESTION, sampling(QUESTION, 60)):
            said.append(piece.ids[0])
            if len(said) == 7:
                workers[0].process.kill()
        again = [piece.ids[0] async for piece in generator.generate(QUESTION, sampling(QUESTION, 60))]
    assert said == again
    assert len(said) == len(whole)


async def test_the_last_one_lost_is_an_error_with_its_name(model, cpp_workers):  # noqa: F811
    (worker,) = cpp_workers(1)

    async def listen():
        generator = Generator(model, TOKENIZER, Spreading((worker.peer,), Split.TENSOR))
        async with contextlib.aclosing(generator):
            async for _ in generator.generate(QUESTION, sampling(QUESTION, 200)):
                worker.process.kill()

    with pytest.raises(LostWorkerError) as caught:
        await listen()
    assert caught.value.worker == worker.peer


async def test_one_that_hangs_is_noticed_and_named(model, cpp_workers):  # noqa: F811
    workers = cpp_workers(2)
    peers = tuple(each.peer for each in workers)
    facts, count = [], 0
    generator = Generator(model, TOKENIZER, Spreading(peers, Split.LAYERS, layers=(3, 3), patience=2), tell=facts.append)
    async with contextlib.aclosing(generator):
        async for _ in generator.generate(QUESTION, sampling(QUESTION, 40)):
            count += 1
            if count == 3:
                workers[0].process.send_signal(signal.SIGSTOP)
    (lost,) = [fact for fact in facts if isinstance(fact, Lost)]
    assert (lost.worker, "nothing for 2 s" in lost.why) == (address(peers[0]), True)
    assert await survivors(workers[1:]) == workers[1:]


@pytest.mark.parametrize("place", [0, 1])
async def test_one_that_hangs_among_shares_is_named_though_another_waits_for_it(place, sixths, cpp_workers):  # noqa: F811
    """The other is not free before the one that hangs ends or goes on: so it is with the original."""
    workers, facts = cpp_workers(2), []
    peers = tuple(each.peer for each in workers)
    generator = Generator(sixths, TOKENIZER, Spreading(peers, Split.TENSOR, patience=2), tell=facts.append)

    async def listen():
        async for _ in generator.generate(QUESTION, sampling(QUESTION, 200)):
            workers[place].process.send_signal(signal.SIGSTOP)

    async with contextlib.aclosing(generator), asyncio.timeout(WITHIN):
        with pytest.raises(LostWorkerError, match=f"before that, {address(peers[place])} sent nothing for 2 s"):
            await listen()
    assert [fact.worker for fact in facts if isinstance(fact, Lost)] == [address(peers[place])]
    workers[place].process.kill()
    workers[1 - place].wait_until_free()


@pytest.mark.parametrize("place", [0, 1])
async def test_ours_waits_no_longer_for_one_that_hangs_than_its_root(place, sixths, launched):  # noqa: F811
    """So the answer goes on over those that are left."""
    workers, facts, pieces = [launched() for _ in range(2)], [], []
    peers = tuple(Peer(OURS, each.port) for each in workers)
    generator = Generator(sixths, TOKENIZER, Spreading(peers, Split.TENSOR, patience=3), tell=facts.append)
    async with contextlib.aclosing(generator), asyncio.timeout(WITHIN):
        async for piece in generator.generate(QUESTION, sampling(QUESTION, 40)):
            pieces.append(piece)
            if len(pieces) == 3:
                workers[place].process.send_signal(signal.SIGSTOP)
    workers[place].process.kill()
    (lost,) = [fact for fact in facts if isinstance(fact, Lost)]
    assert (lost.worker, lost.others) == (address(peers[place]), (address(peers[1 - place]),))
    assert pieces[-1].finish == "length"


async def test_whoever_stops_listening_leaves_the_workers_free(model, cpp_workers):  # noqa: F811
    workers = cpp_workers(2)
    peers = tuple(each.peer for each in workers)
    for split in (Split.TENSOR, Split.LAYERS):
        spreading = Spreading(peers[:1] if split is Split.TENSOR else peers, split, layers=None if split is Split.TENSOR else (2, 4))
        generator = Generator(model, TOKENIZER, spreading)
        begun = asyncio.Event()

        async def listen(generator=generator, begun=begun):
            async for _ in generator.generate(QUESTION, sampling(QUESTION, 250)):
                begun.set()

        listening = asyncio.create_task(listen())
        await begun.wait()
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        await generator.aclose()
        assert await survivors(workers) == workers


@pytest.mark.parametrize("steps", range(6))
async def test_a_session_that_is_given_up_at_any_step_leaves_its_worker_free(steps, cpp_workers):  # noqa: F811
    (worker,) = cpp_workers(1)
    link = connect(worker.peer)
    todo = [lambda: link.greet(Hello(1, 0)), link.ready, lambda: link.net(EMPTY_NET), lambda: link.node(EMPTY_NODE), link.no_more_weights]
    for step in todo[:steps]:
        step()
    link.finish()
    assert await survivors([worker]) == [worker]


def scan(peer):
    """A bare connection, which ends a free one of the original's."""
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection((peer.host, peer.port), timeout=WITHIN).close()


async def test_a_parked_worker_is_out_of_a_scanners_reach_and_comes_back(cpp_workers):  # noqa: F811
    parked, free = cpp_workers(2)
    for _ in range(3):
        link = connect(parked.peer)
        link.park()
        for _ in range(10):
            scan(parked.peer)
        link.finish()
        assert await survivors([parked]) == [parked]
    scan(free.peer)
    assert free.process.wait(WITHIN) == 1


async def test_a_worker_is_measured_again_and_again_and_free_afterwards(cpp_workers, launched):  # noqa: F811
    (worker,) = cpp_workers(1)
    for peer in (worker.peer, Peer(OURS, launched().port)) * 3:
        speed = await asyncio.to_thread(measure, peer)
        assert speed.macs > 1e8
        assert speed.batch_macs > 1e8
        assert 0 < speed.round_trip < 1
    assert await survivors([worker]) == [worker]
