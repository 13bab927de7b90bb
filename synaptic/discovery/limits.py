"""How fast this machine may look around: file descriptors and the kernel's table of neighbours are finite."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

AT_ONCE = 256
LEAST = 4
TIMEOUT = 0.5  # seconds for one connection
UNGATED = 1022  # addresses: a /22 fits into every neighbour table
MARGIN = 32  # neighbours: as many as come between two looks at the table
_THRESHOLD = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
_TABLE = Path("/proc/net/arp")


@dataclasses.dataclass(frozen=True)
class Limits:
    """`neighbours_full` is asked before probes are sent: while it says so, none are."""

    at_once: int = AT_ONCE
    timeout: float = TIMEOUT
    neighbours_full: Callable[[], bool] | None = None


def of_this_machine(addresses: int) -> Limits:
    """For a scan of so many addresses."""
    most = _most_neighbours()
    at_once = max(LEAST, min(AT_ONCE, _descriptors() // 4, most // 4))
    is_gated = addresses > UNGATED and _TABLE.exists()
    return Limits(at_once, neighbours_full=(lambda: neighbours() >= most // 2 - MARGIN) if is_gated else None)


def neighbours() -> int:
    """How many the kernel keeps now; many scans in one file are cheaper than one system call each."""
    try:
        return _TABLE.read_bytes().count(b"\n") - 1
    except OSError:
        return 0


def _most_neighbours() -> int:
    with contextlib.suppress(OSError, ValueError):  # a container does not see its kernel's limit
        return int(_THRESHOLD.read_text())
    return 1024


def _descriptors() -> int:
    try:
        import resource
    except ImportError:  # not on this system
        return 4 * AT_ONCE
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 4 * AT_ONCE if soft == resource.RLIM_INFINITY else soft
