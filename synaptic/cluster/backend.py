"""What a worker or server is: where it listens, what its handshake proved, and whether it can be used now."""

from __future__ import annotations

import dataclasses
import enum

from synaptic.endpoint import Endpoint


class Kind(enum.Enum):
    RPC = "rpc"
    DLLAMA = "dllama"
    OLLAMA = "ollama"
    OPENAI = "openai"


class State(enum.Enum):
    IDLE = "idle"
    IN_USE = "in-use"  # by a coordinator of ours
    BUSY = "busy"  # by someone else, or silent
    INCOMPATIBLE = "incompatible"  # speaks a protocol version that the engine here does not
    UNREACHABLE = "unreachable"
    UNVERIFIED = "unverified"  # not asked yet, or must not be asked


@dataclasses.dataclass(frozen=True)
class Device:
    """Memory in bytes, as the worker states it."""

    name: str
    free: int
    total: int


@dataclasses.dataclass(frozen=True)
class Backend:
    """`detail` is a plain sentence: why it is not idle. `source`: configured, local, or one of discovery.sources."""

    endpoint: Endpoint
    kind: Kind
    state: State
    version: str | None = None
    devices: tuple[Device, ...] = ()
    latency_ms: float | None = None
    source: str = ""
    detail: str = ""

    @property
    def is_ready(self) -> bool:
        return self.state in (State.IDLE, State.IN_USE)

    @property
    def is_there(self) -> bool:
        """Whether it listens, or serves us; of a dllama worker that is all one knows before a root has used it."""
        return self.state in (State.IDLE, State.IN_USE, State.UNVERIFIED)

    @property
    def free_bytes(self) -> int:
        return sum(device.free for device in self.devices)
