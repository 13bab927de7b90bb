"""What a worker says to whoever watches it: where it is reached, what each session is about, why it cannot begin."""

from __future__ import annotations

import subprocess
import sys

import pytest
from dllama.workers import HOST, RECORDED, WITHIN, begin, exactly, launched  # noqa: F401 - a fixture

from synaptic.dllama import wire
from synaptic.dllama.graph import FloatType, NetConfig, NodeConfig, Pipe, Segment, Size3D, Sync, SyncType
from synaptic.dllama.session import ACK, EMPTY_SESSION

NET_ENDS = RECORDED.index(ACK, 16)


def test_it_tells_what_a_session_is_about(launched):  # noqa: F811
    worker = launched()
    with worker.connect() as sock:
        for step in EMPTY_SESSION:
            sock.sendall(step.request)
            assert exactly(sock, len(step.reply)) == step.reply
    with worker.connect() as sock:
        begin(sock, *echo())
        for position in range(2):
            sock.sendall(wire.encode_control(wire.Control(position, 1)) + bytes(16))
            assert exactly(sock, 8) == bytes(8)
        sock.sendall(wire.encode_control(wire.Control(2, 0)))
        assert sock.recv(1) == b""
    with worker.connect() as sock:
        for end in ((0, 8), (8, NET_ENDS), (NET_ENDS, len(RECORDED))):
            sock.sendall(RECORDED[slice(*end)])
            assert exactly(sock, 4) == ACK
    lines = [worker.lines.get(timeout=WITHIN) for _ in range(9)]
    came, left = "the root 127.0.0.1 connected: worker 1 of 1", "session over: the root 127.0.0.1 said stop"
    empty = "nothing to compute: somebody looks, or holds this worker for later"
    here = f"{HOST}:{worker.port}"
    assert lines[0].startswith(f"for its root: dllama add {here}, or distributed-llama's own with --workers {here}; this machine alone")
    assert lines[1:] == [came, empty, left, came, "node 1 of 2: 160 B in use", "computed 2 tokens", left, came]
    assert worker.says("node 1 of 2") == "node 1 of 2: layers 0 to 3, 2.8 MiB in use"


@pytest.mark.parametrize(
    ("host", "port", "why"),
    [
        (HOST, None, "address already in use   try: --port 9998, or 0 for any that is free"),
        ("192.0.2.100", 9999, "cannot assign requested address   it is none of this machine's, which hostname -I lists"),
    ],
)
def test_a_port_that_cannot_be_had_is_named_with_a_way_out(launched, host, port, why):  # noqa: F811
    port = port or launched().port
    words = ["--host", host, "--port", str(port)]
    done = subprocess.run(
        [sys.executable, "-m", "synaptic.dllama.worker", *words], capture_output=True, text=True, timeout=WITHIN, check=False
    )
    assert (done.returncode, done.stderr) == (1, f"cannot listen on {host}:{port}: {why}\n")


def echo() -> tuple[NetConfig, NodeConfig]:
    """Two floats a row, from the root and back: one from each of two nodes."""
    pipes = (Pipe("POS", Size3D(FloatType.F32, 1, 8, 1)), Pipe("X", Size3D(FloatType.F32, 1, 8, 4)))
    syncs = (Sync(1, SyncType.WITH_ROOT), Sync(1, SyncType.NODE_SLICES_EXCEPT_ROOT))
    return NetConfig(8, 2, pipes), NodeConfig(1, (), (Segment((), syncs),))
