"""
The complete, empty session of a distributed-llama root, as bytes; no sockets here.

It proves that a free worker is one, and leaves it as it was. A worker ends its process when a session breaks off
before the last acknowledgement: whoever sends the first step must go through to the last.

    root    hello: 1 worker, index 0, no peers                            worker   ACK   ◀── proves it
    root    ACK | ACK, net: one pipe of one float (it takes a pointer)    worker   ACK
    root    ACK, node: no buffers, no segments                            worker   ACK
    root    no weights                                                    worker   ACK   ◀── from here on it survives
    root    control packet with batch size 0: stop                        worker closes, and listens again
"""

from __future__ import annotations

import dataclasses
import struct

ACK = struct.pack("<I", 23571114)
HELD, LOADED, ROOM = b"HELD", b"LOAD", b"ROOM"  # what ours says to ours: see holding and granting
FULL = b"FULL"  # ours, in place of the ACK of a NodeConfig: there is no room for it, and the session is over
BUSY = b"busy: this dllama worker serves another root\n"  # what ours says in place of the first ACK; the original is silent
REFUSALS = {
    BUSY[:4]: "serves another root: wait for that, or go without it (dllama remove)",
    FULL: "has no room for its part: start it with more --memory, or go without it (dllama remove)",
}

_F32 = 0
_HELLO = struct.pack("<II", 1, 0)
_ONE_FLOAT = struct.pack("<iIII QQQ", _F32, 1, 1, 1, 1, 4, 4)  # type, z, y, x, length, bytes, bytes of a layer
_NAME = struct.pack("<I", 2) + b"P\0"
_NET = struct.pack("<III", 1, 1, 1) + _ONE_FLOAT + _NAME + struct.pack("<I", 0)  # batches, nodes, pipes … syncs
_NODE = struct.pack("<III", 0, 0, 0)  # index, buffers, segments
_NO_WEIGHTS = struct.pack("<I", 0)
_STOP = struct.pack("<II", 0, 0)  # position, batch size


@dataclasses.dataclass(frozen=True)
class Step:
    """Send `request`, then read `reply`, byte for byte; an empty reply is the end of the stream."""

    request: bytes
    reply: bytes


EMPTY_SESSION = (
    Step(_HELLO, ACK),
    Step(ACK + ACK + _NET, ACK),
    Step(ACK + _NODE, ACK),
    Step(_NO_WEIGHTS, ACK),
    Step(_STOP, b""),
)
