"""Our root with our own workers, beside answers that were recorded from the real program."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from dllama.answering import our_root
from dllama.cpp import DEMO
from dllama.workers import HOST, WITHIN, launched  # noqa: F401 - a fixture

from synaptic.dllama.measure import measure
from synaptic.dllama.running import Loading, Pass
from synaptic.dllama.spreading import Split, Spreading
from synaptic.dllama.to_worker import LostWorkerError, connect, prove
from synaptic.dllama.wire import Peer

pytestmark = pytest.mark.anyio
MODEL = DEMO / "demo-q40.m"
RECORDED = json.loads((Path(__file__).parents[1] / "data" / "dllama" / "answers.json").read_text())
PROMPT, STEPS, SAID = RECORDED["prompt"], RECORDED["steps"], RECORDED["pieces"]  # by 1, 2 and 4 nodes


@pytest.fixture(scope="module")
def peers(launched):  # noqa: F811
    return tuple(Peer(HOST, launched().port) for _ in range(3))


async def test_alone_it_says_what_the_real_one_said():
    assert await our_root(MODEL, Spreading(), PROMPT, STEPS) == SAID


@pytest.mark.parametrize("count", [1, 3])
async def test_shares_say_what_the_real_one_said(count, peers):
    for _ in range(2):  # one session after another
        spreading = Spreading(peers[:count], Split.TENSOR)
        assert await our_root(MODEL, spreading, PROMPT, STEPS) == SAID


@pytest.mark.parametrize("layers", [(4,), (1, 3), (1, 2, 1)])
async def test_layers_say_what_the_real_one_said_alone(layers, peers):
    facts = []
    spreading = Spreading(peers[: len(layers)], Split.LAYERS, layers=layers)
    assert await our_root(MODEL, spreading, PROMPT, STEPS, tell=facts.append) == SAID
    loads = [fact for fact in facts if isinstance(fact, Loading)]
    assert [fact.done for fact in loads] == sorted(fact.done for fact in loads)
    assert loads[-1].done == loads[-1].total
    last = [fact for fact in facts if isinstance(fact, Pass)][-1]
    assert [each.worker for each in last.traffic] == [f"{each.host}:{each.port}" for each in peers[: len(layers)]]
    assert last.computing > 0 < last.waiting


async def test_a_token_costs_each_worker_one_row_there_and_one_back(peers):
    """Of 256 floats, with eight bytes that say which token it is: no weights, whatever the size of the model."""
    facts = []
    await our_root(MODEL, Spreading(peers, Split.LAYERS, layers=(1, 2, 1)), PROMPT, STEPS, tell=facts.append)
    before, after = [fact.traffic for fact in facts if isinstance(fact, Pass)][-2:]
    costs = {(now.sent - then.sent, now.received - then.received) for then, now in zip(before, after, strict=True)}
    assert costs == {(8 + 4 * 256, 4 * 256)}


def test_our_worker_is_measured_and_parked(peers):
    for _ in range(3):
        assert measure(peers[0]).macs > 1e7
        link = connect(peers[0])
        link.park()
        for _ in range(10):
            socket.create_connection((peers[0].host, peers[0].port), timeout=WITHIN).close()
        with pytest.raises(LostWorkerError, match="serves another root"):
            prove(peers[0])
        link.finish()
        prove(peers[0])


class Odd:
    """A server that is no worker: it answers with these bytes, or closes, or says nothing."""

    def __init__(self, answer: bytes | None) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.peer = Peer(HOST, self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, args=(answer,))
        self._thread.start()

    def _serve(self, answer: bytes | None) -> None:
        sock, _ = self._listener.accept()
        with self._listener, sock:
            sock.recv(100)
            if answer is None:
                sock.recv(100)  # until the root gives up
            elif answer:
                sock.sendall(answer)
                sock.recv(100)

    def __enter__(self) -> Peer:
        return self.peer

    def __exit__(self, *_: object) -> None:
        self._thread.join(40)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "is no dllama worker: it sent 53 53 48 2d"),
        (b"", "closed the connection"),
        (None, "sent nothing for 0.3 s"),
    ],
)
def test_what_is_no_worker_is_named(answer, why):
    with Odd(answer) as peer, pytest.raises(LostWorkerError, match=why) as caught:
        prove(peer, 0.3)
    assert str(caught.value).startswith(f"{HOST}:{peer.port} ")


async def test_a_port_that_is_no_worker_ends_it_before_anyone_is_greeted(peers):
    with Odd(b"HTTP/1.1 400 Bad Request\r\n\r\n") as odd, pytest.raises(LostWorkerError, match="no dllama worker") as caught:
        await our_root(MODEL, Spreading((*peers[:2], odd), Split.TENSOR, patience=30), PROMPT, STEPS)
    assert caught.value.worker == odd
    for peer in peers:
        prove(peer, 30)
