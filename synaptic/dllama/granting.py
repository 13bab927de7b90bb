"""
How much memory a worker grants one session: asked and answered within a session that the original's programs can follow.

    root      NetConfig, whose first pipe is named "POS memory"      the original copies names and reads none
    worker    ROOM and how many bytes, not ACK                       the original says ACK, and does not tell
"""

from __future__ import annotations

import dataclasses
import struct

from synaptic.dllama import wire
from synaptic.dllama.graph import NetConfig
from synaptic.dllama.session import ROOM

_NAME = "POS memory"
_COUNT = struct.Struct("<Q")


def asking(net: NetConfig) -> NetConfig:
    return dataclasses.replace(net, pipes=(dataclasses.replace(net.pipes[0], name=_NAME), *net.pipes[1:]))


def is_asked(net: NetConfig) -> bool:
    return bool(net.pipes) and net.pipes[0].name == _NAME


def granted(count: int) -> bytes:
    return ROOM + _COUNT.pack(count)


def answer() -> wire.Reading[int | None]:
    """Bytes; None: it does not say."""
    if not (yield from wire.ack(ROOM)):
        return None
    return int(_COUNT.unpack((yield _COUNT.size))[0])
