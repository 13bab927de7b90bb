"""Workers that have the root's model themselves are asked, believed and sent nothing; others notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import shutil

import pytest
from dllama.answering import our_root
from dllama.cpp import TOKENIZER, cpp_workers  # noqa: F401 - a fixture
from dllama.synthetic import KINDS, write_model
from dllama.workers import ALONE, HOST, WITHIN, exactly, launched  # noqa: F401 - a fixture

from synaptic.dllama import holding, wire
from synaptic.dllama.builder import build_run
from synaptic.dllama.generate import Generator
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.running import Loading, Pass, Placed
from synaptic.dllama.session import ACK, HELD
from synaptic.dllama.spreading import Split, Spreading
from synaptic.dllama.wire import Peer

SPLITS = [Split.TENSOR, Split.LAYERS]
VERSION = 12  # where it is in a header
HEADS = 10_000  # bytes before weights: names, places


def changed(path, place):
    """The same model, but for one byte."""
    other = path.with_name("other.m")
    shutil.copy(path, other)
    with other.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    return other


def placed(facts):
    (found,) = [fact for fact in facts if isinstance(fact, Placed)]
    return {node.worker: node.holds for node in found.nodes if node.worker}


@pytest.mark.anyio
@pytest.mark.parametrize("split", SPLITS)
async def test_holders_are_sent_no_weights_and_the_others_all(split, launched, tmp_path):  # noqa: F811
    path = write_model(tmp_path / "m.m", "llama", dim=512, hidden=1024)
    other = changed(path, VERSION)
    words = (("--model", str(path)), (), ("--model", str(other)))
    peers = tuple(Peer(HOST, launched(*each).port) for each in words)
    names = [f"{each.host}:{each.port}" for each in peers]
    facts, alone = [], await our_root(path, Spreading())
    spread = Spreading(peers, split, layers=(2, 2, 2) if split is Split.LAYERS else None)
    answer = await our_root(path, spread, tell=facts.append)
    assert placed(facts) == dict(zip(names, (True, False, False), strict=True))
    first = next(fact for fact in facts if isinstance(fact, Pass))
    weights = next(fact for fact in facts if isinstance(fact, Placed)).nodes[-1].weights
    sent = [each.sent for each in first.traffic]
    assert weights > 1_000_000
    assert weights <= sent[1] - sent[0] < weights + HEADS
    assert abs(sent[2] - sent[1]) < HEADS
    loads = [fact for fact in facts if isinstance(fact, Loading)]
    assert [fact.done for fact in loads] == sorted(fact.done for fact in loads)
    assert loads[-1].done == loads[-1].total > 1_000_000
    if split is Split.LAYERS:
        assert answer == alone


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", SPLITS)
async def test_what_holders_compute_is_the_same(kind, split, launched, tmp_path):  # noqa: F811
    path = write_model(tmp_path / f"{kind}.m", kind)
    fed, holder = Peer(HOST, launched().port), Peer(HOST, launched("--model", str(path)).port)
    expected = await our_root(path, Spreading((fed,), split))
    facts = []
    assert await our_root(path, Spreading((holder,), split), tell=facts.append) == expected
    assert list(placed(facts).values()) == [True]


@pytest.mark.live
@pytest.mark.anyio
@pytest.mark.parametrize("split", SPLITS)
async def test_a_real_worker_understands_the_session_and_is_sent_everything(split, launched, cpp_workers, tmp_path):  # noqa: F811
    path = write_model(tmp_path / "m.m")
    (real,) = cpp_workers(1)
    peers = (real.peer, Peer(HOST, launched("--model", str(path)).port))
    if split is Split.TENSOR:
        peers = (*peers, Peer(HOST, launched().port))
    facts, layers = [], (3, 3) if split is Split.LAYERS else None
    assert await our_root(path, Spreading(peers, split, layers=layers), tell=facts.append)
    assert list(placed(facts).values()) == [False, True, False][: len(peers)]
    real.wait_until_free()


PATIENCE = 1.0  # seconds


async def slow_holder(reader, writer):
    """A worker that has any model, and takes longer to read it than its root is patient."""

    async def understood(reading):
        count = next(reading)
        try:
            while True:
                count = reading.send(await reader.readexactly(count))
        except StopIteration as done:
            return done.value

    await understood(wire.hello())
    writer.write(ACK)
    await understood(wire.ack())
    await understood(wire.ack())
    is_asked = holding.asked(await understood(wire.net_config())) is not None
    writer.write(ACK)
    await understood(wire.ack())
    await understood(wire.node_config())
    writer.write(HELD if is_asked else ACK)
    assert await understood(wire.weight_head()) is None
    for _ in range(8 if is_asked else 0):
        writer.write(holding.loaded(1000))
        await asyncio.sleep(PATIENCE / 4)
    writer.write(ACK)
    await reader.read()
    writer.close()


@pytest.mark.anyio
async def test_a_holder_that_reads_for_longer_than_our_patience_is_not_given_up(tmp_path):
    path, facts = write_model(tmp_path / "m.m"), []
    async with await asyncio.start_server(slow_holder, HOST, 0) as server:
        peer = Peer(HOST, server.sockets[0].getsockname()[1])
        spreading = Spreading((peer,), Split.LAYERS, layers=(6,), patience=PATIENCE)
        generator = Generator(path, TOKENIZER, spreading, tell=facts.append)
        async with contextlib.aclosing(generator), asyncio.timeout(WITHIN):
            await generator.ensure_ready()
    assert list(placed(facts).values()) == [True]
    assert any(isinstance(fact, Loading) and fact.done % 1000 == 0 for fact in facts)


def test_a_question_is_a_name_that_is_read_again(tmp_path):
    file = ModelFile(write_model(tmp_path / "m.m"))
    net, _ = build_run(file.header, 0, 6, context=64)
    question = holding.question_of(file)
    reading = wire.net_config()
    raw = wire.encode_net(question.within(net))
    place = 0

    def take(count):
        nonlocal place
        place += count
        return raw[place - count : place]

    assert holding.asked(wire.read(reading, take)) == question
    assert holding.asked(net) is None
    assert holding.is_had(question, file)
    assert holding.question_of(file) != question


def test_a_digest_knows_header_size_and_weights(tmp_path):
    path, nonce = write_model(tmp_path / "m.m", "qwen3moe"), "0" * 16
    file = ModelFile(path)
    own = holding.fingerprint(file, nonce)
    assert holding.fingerprint(ModelFile(shutil.copy(path, tmp_path / "again.m")), nonce) == own
    assert holding.fingerprint(file, "1" * 16) != own
    first, last = file.tensor("block_norm_q", 0), file.tensor("final_norm")
    for place in (VERSION, first.offset, last.offset + last.bytes - 1):
        assert holding.fingerprint(ModelFile(changed(path, place)), nonce) != own


def test_damage_anywhere_is_found_by_some_session(tmp_path):
    """Each looks at other places of a large tensor."""
    path = write_model(tmp_path / "m.m", vocab=2000)
    file = ModelFile(path)
    table = file.tensors[0]
    assert table.bytes > 200 * holding.BYTES
    damaged = ModelFile(changed(path, table.offset + table.bytes // 3))
    nonces = [f"{number:016x}" for number in range(1000)]
    found = sum(holding.fingerprint(file, nonce) != holding.fingerprint(damaged, nonce) for nonce in nonces)
    assert 0 < found < 100
