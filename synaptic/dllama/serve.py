"""
One session of a worker with a root, from the acknowledgement of its hello to the end.

    hello ──▶ met: every worker is here ──▶ configured ──▶ loaded ──▶ waiting for a pass ⇄ passing ──▶ ended

It ends with the root's stop, with a LostError, a WireError, a GraphError or a MemoryError; whoever calls closes the
connections. Blocking, for a thread of its own: a pass is a chain of waits for other nodes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from synaptic.dllama import granting, holding, syncs, wire
from synaptic.dllama.graph import POSITIONS, FloatType, GraphError, NetConfig, NodeConfig
from synaptic.dllama.link import Link, LostError
from synaptic.dllama.loading import Loading
from synaptic.dllama.session import ACK, FULL, HELD
from synaptic.dllama.sizes import gib

if TYPE_CHECKING:
    from synaptic.dllama.executor import Executor
    from synaptic.dllama.model_file import ModelFile

_REPACKED = 20 / 18  # a scale takes four bytes instead of two
_EACH = 1.0  # seconds between two words to a root that waits while we read our file
_SETTLING = 10.0  # seconds to reach another worker


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a root is granted. Seconds and bytes."""

    threads: int = 1
    memory: int = 1 << 62
    idle: float = 86_400.0  # between two passes
    patience: float = 60.0  # for a message, or between its bytes
    own: ModelFile | None = None  # for weights that are not sent


class Mesh(Protocol):
    """Where the other workers' connections come in."""

    def claim(self, hosts: Sequence[str], within: float, leader: Link) -> list[socket.socket]:
        """One for each of these hosts, in this order as far as that can be told. LostError when they do not come, or the leader leaves."""


def serve(opened: list[Link], hello: wire.Hello, mesh: Mesh, terms: Terms, tell: Callable[[str], None]) -> None:
    """Until the root says stop. `opened`: the root's link; the other workers' are added as they come."""
    root = opened[0]
    root.write(ACK, terms.patience)
    root.read(wire.ack(), terms.patience)  # it has met all workers
    for peer in hello.peers[hello.index :]:  # workers connect to those that come after them
        opened.append(_dial(peer))
        opened[-1].follow(root)
    root.read(wire.ack(), terms.patience)
    net = root.read(wire.net_config(), terms.patience)
    root.write(granting.granted(terms.memory) if granting.is_asked(net) else ACK, terms.patience)
    root.read(wire.ack(), terms.patience)
    node = root.read(wire.node_config(), terms.patience)
    with contextlib.closing(_executor(net, node, root, hello.n_workers, terms)) as executor:
        if node.segments:
            tell(f"node {node.node_index} of {net.n_nodes}: {_layers(node)}{gib(needed(net, node))} in use")
        else:
            tell("nothing to compute: somebody looks, or holds this worker for later")
        _load(root, Loading(net, node, executor, terms.own), holding.asked(net), terms, tell)
        _meet(opened, hello, mesh, terms)
        root.write(ACK, terms.patience)
        _pass(net, node, executor, opened, terms, tell)


def _load(root: Link, loading: Loading, question: holding.Question | None, terms: Terms, tell: Callable[[str], None]) -> None:
    holds = loading.is_whole and holding.is_had(question, terms.own)
    root.write(HELD if holds else ACK, terms.patience)
    loading.receive(root, terms.patience)
    from_file = loading.complete(_Progress(root, terms.patience) if holds else lambda _: None)
    if from_file:
        tell(f"weights loaded, {gib(from_file)} of them from our own file")
    elif loading.wanted:
        tell("weights loaded" + (", the same as in our own file" if loading.is_same else ""))
    if loading.differs:
        tell("the model that was sent is not the one of our own file")


class _Progress:
    """Tells a root that knows of it, which would give us up otherwise."""

    def __init__(self, root: Link, patience: float) -> None:
        self._root, self._patience, self._last = root, patience, time.monotonic()

    def __call__(self, count: int) -> None:
        if time.monotonic() - self._last >= _EACH:
            self._root.write(holding.loaded(count), self._patience)
            self._last = time.monotonic()


def needed(net: NetConfig, node: NodeConfig) -> int:
    """Bytes of memory for pipes, buffers and weights."""
    plain = sum(pipe.size.n_bytes for pipe in net.pipes) + sum(buffer.size.n_bytes for buffer in node.buffers)
    weights = [op.weight for segment in node.segments for op in segment.ops]
    return plain + int(sum(size.n_bytes * (_REPACKED if size.type is FloatType.Q40 else 1) for size in weights))


def _layers(node: NodeConfig) -> str:
    found = [op.index for segment in node.segments for op in segment.ops if op.weight.n_bytes and op.name.startswith("block_")]
    return f"layers {min(found)} to {max(found)}, " if found else ""


def _dial(peer: wire.Peer) -> Link:
    name = f"the worker {peer.host}:{peer.port}"
    try:
        return Link(socket.create_connection((peer.host, peer.port), timeout=_SETTLING), name)
    except (OSError, UnicodeError) as error:
        raise LostError(f"{name} cannot be reached: {str(getattr(error, 'strerror', None) or error).lower()}") from error


def _executor(net: NetConfig, node: NodeConfig, root: Link, n_links: int, terms: Terms) -> Executor:
    syncs.check(net, node, n_links)
    if not net.pipes or net.pipes[POSITIONS].size.type is not FloatType.F32 or net.pipes[POSITIONS].size.length < net.n_batches:
        raise GraphError("no pipe for positions")
    if (needs := needed(net, node)) > terms.memory:
        root.write(FULL, terms.patience)
        raise GraphError(f"{gib(needs)}, more than --memory allows, which is {gib(terms.memory)}")
    from synaptic.dllama.executor import Executor  # takes a moment

    return Executor(net, node, terms.threads)


def _meet(opened: list[Link], hello: wire.Hello, mesh: Mesh, terms: Terms) -> None:
    """By now every other worker has met all of its own: who has connected and not said a word is one."""
    hosts = [peer.host for peer in hello.peers[: hello.index]]
    found = mesh.claim(hosts, terms.patience, opened[0])
    came = [Link(sock, f"the worker {host}") for host, sock in zip(hosts, found, strict=True)]
    for link in came:
        link.follow(opened[0])
    opened[1:1] = came


def _pass(net: NetConfig, node: NodeConfig, executor: Executor, links: Sequence[Link], terms: Terms, tell: Callable[[str], None]) -> None:
    import numpy

    rows = [pipe.view(numpy.uint8).reshape(-1, max(spec.size.row_bytes, 1)) for pipe, spec in zip(executor.pipes, net.pipes, strict=True)]
    others = syncs.Others(node.node_index, net.n_nodes, links)
    exchanges = [syncs.exchanges(segment, rows, others, terms.patience) for segment in node.segments]
    positions = executor.pipes[POSITIONS].reshape(-1)
    root, tokens = links[0], 0
    try:
        while True:
            root.await_word(terms.idle)
            control = root.read(wire.control(), terms.patience)
            count = control.batch_size
            if count == 0:
                return
            if count > net.n_batches:
                raise wire.WireError(f"starts a pass of {count} rows, and {net.n_batches} is the most")
            positions[:count] = range(control.position, control.position + count)
            for index, steps in enumerate(exchanges):
                executor.run(index, count, control.position)
                for step in steps:
                    step(count)
            tokens += count
    finally:
        if tokens:
            tell(f"computed {tokens:,} token{'s' * (tokens > 1)}")
