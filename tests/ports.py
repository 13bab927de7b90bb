"""
Ports for tests that nobody takes between the choice and the use.

They lie below those that the kernel gives away by itself, and each process of a run of tests has its own.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

FIRST, EACH, PROCESSES = 12_000, 128, 160
TOGETHER = 4  # the next ones are free too: some count on from the first


def free_port(host: str = "127.0.0.1") -> int:
    return next(port for port in _ours if all(_is_free(host, port + further) for further in range(TOGETHER)))


def _turns() -> Iterator[int]:
    for number in range(PROCESSES):
        with socket.socket(socket.AF_UNIX) as claim:
            if not _is_bound(claim, f"\0synapticllamas tests {number}"):  # for as long as this process lives
                continue
            yield from itertools.cycle(range(FIRST + number * EACH, FIRST + (number + 1) * EACH, TOGETHER))
    raise AssertionError("more runs of tests than there are ports for")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return _is_bound(probe, (host, port))


def _is_bound(there: socket.socket, address: str | tuple[str, int]) -> bool:
    try:
        there.bind(address)
    except OSError:
        return False
    return True


_ours = _turns()
