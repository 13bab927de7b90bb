"""Rows of a pipe between the nodes of a session, over real sockets."""

from __future__ import annotations

import concurrent.futures
import itertools
import socket
from collections.abc import Iterator

import numpy as np
import pytest

from synaptic.dllama import wire
from synaptic.dllama.graph import Segment, Sync, SyncType
from synaptic.dllama.link import Link, LostError, exchange
from synaptic.dllama.syncs import Others, exchanges

PATIENCE = 40.0


def meshed(n_nodes: int) -> list[list[Link]]:
    """The links of each node, in the order of the other nodes."""
    links: list[list[Link]] = [[] for _ in range(n_nodes)]
    for one, other in itertools.combinations(range(n_nodes), 2):
        left, right = socket.socketpair()
        links[one].append(Link(left, f"node {other}"))
        links[other].append(Link(right, f"node {one}"))
    return links


@pytest.fixture
def pair() -> Iterator[list[Link]]:
    """Two ends of a connection."""
    (ours,), (theirs,) = meshed(2)
    yield [ours, theirs]
    ours.close()
    theirs.close()


def synced(kind: SyncType, rows: list[np.ndarray], count: int) -> None:
    """Every node at once, each in its thread."""
    links = meshed(len(rows))

    def node(me: int) -> None:
        (step,) = exchanges(Segment((), (Sync(0, kind),)), [rows[me]], Others(me, len(rows), links[me]), PATIENCE)
        step(count)

    with concurrent.futures.ThreadPoolExecutor(len(rows)) as pool:
        list(pool.map(node, range(len(rows))))
    for link in itertools.chain(*links):
        link.close()


def filled(n_nodes: int, y: int, width: int) -> list[np.ndarray]:
    """Each node's bytes are its own."""
    return [np.random.default_rng(node).integers(0, 256, (y, n_nodes * width), np.uint8) for node in range(n_nodes)]


@pytest.mark.parametrize("n_nodes", [2, 3, 4])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("width", [4, 136, 20_000])
def test_slices_of_all_reach_all(n_nodes, count, width):
    rows = filled(n_nodes, 5, width)
    before = [each.copy() for each in rows]
    synced(SyncType.NODE_SLICES, rows, count)
    whole = np.concatenate([before[node][:, node * width : (node + 1) * width] for node in range(n_nodes)], axis=1)
    for node in range(n_nodes):
        assert (rows[node][:count] == whole[:count]).all()
        assert (rows[node][count:] == before[node][count:]).all()


@pytest.mark.parametrize("count", [1, 3])
def test_slices_of_the_workers_reach_the_root(count):
    rows = filled(3, 4, 8)
    before = [each.copy() for each in rows]
    synced(SyncType.NODE_SLICES_EXCEPT_ROOT, rows, count)
    assert (rows[0][:count, 8:16] == before[1][:count, 8:16]).all()
    assert (rows[0][:count, 16:] == before[2][:count, 16:]).all()
    assert (rows[0][:, :8] == before[0][:, :8]).all()
    assert (rows[1] == before[1]).all()


@pytest.mark.parametrize("count", [1, 3])
def test_rows_of_the_root_reach_the_workers(count):
    rows = filled(3, 4, 8)
    before = [each.copy() for each in rows]
    synced(SyncType.WITH_ROOT, rows, count)
    for node in (1, 2):
        assert (rows[node][:count] == before[0][:count]).all()
        assert (rows[node][count:] == before[node][count:]).all()


def test_two_who_send_before_they_read_do_not_wait_for_each_other(pair):
    """Far more than the kernel holds for them."""
    left, right = pair
    sent = [np.full(30_000_000, value, np.uint8) for value in (1, 2)]
    got = [np.zeros_like(sent[0]) for _ in sent]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(exchange, [(link, sent[me].data)], [(link, got[me].data)], PATIENCE) for me, link in enumerate((left, right))]
        for job in jobs:
            job.result()
    assert (got[0] == 2).all()
    assert (got[1] == 1).all()


def test_a_peer_that_goes_or_falls_silent_is_lost(pair):
    ours, theirs = pair
    with pytest.raises(LostError, match=r"node 1 sent nothing for 0.05 s"):
        ours.read_into(memoryview(bytearray(1)), 0.05)
    with pytest.raises(LostError, match=r"node 1 neither took nor sent anything for 0.05 s"):
        ours.write(bytes(50_000_000), 0.05)
    theirs.close()
    with pytest.raises(LostError, match="node 1 (is gone|closed the connection)"):
        ours.read_into(memoryview(bytearray(1)), PATIENCE)


def test_what_came_beyond_a_message_is_kept(pair):
    ours, theirs = pair
    theirs.write(wire.encode_control(wire.Control(7, 1)) + b"abcdef", PATIENCE)
    assert ours.read(wire.control(), PATIENCE) == wire.Control(7, 1)
    place = bytearray(4)
    for expected in (b"abcd", b"efgh"):
        ours.read_into(memoryview(place), PATIENCE)
        assert bytes(place) == expected
        theirs.write(b"gh", PATIENCE)
