"""The settings of this moment, typed, and the layer that each came from."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path

from synaptic.endpoint import Endpoint
from synaptic.results import Json
from synaptic.settings.nodes import NodeEntry
from synaptic.settings.splits import Split


class Layer(enum.Enum):
    FLAG = "flag"
    ENVIRONMENT = "env"
    FILE = "file"
    DEFAULT = "default"


@dataclasses.dataclass(frozen=True)
class Values:
    """The merged view; the names are the keys of the file."""

    mode: str | None = None
    distributed_inference_enabled: bool = False
    rpc_backends: tuple[Endpoint, ...] = ()  # flags, then environment, then file; each once
    dllama_backends: tuple[Endpoint, ...] = ()  # distributed-llama workers
    nodes: tuple[NodeEntry, ...] = ()  # servers with models of their own
    model: str | None = None
    via: str | None = None  # the engine that answers; None and "auto": the best for each model
    collaborative_mode: bool = False
    refinement_rounds: int = 1  # in which a team of agents rewrites its draft
    synthesis_model: str | None = None  # with which the team's editor writes; None: the one that answers
    strategy: str = "auto"  # how the agents are spread over the nodes
    agent_timeout: int = 300  # seconds for each agent's part
    flockparser_enabled: bool = False  # kept from the original, unused
    models_dirs: tuple[Path, ...] = ()  # folders searched for *.gguf
    context: int | None = None  # tokens per slot; None: the model's own, at most 8192
    splits: tuple[Split, ...] = ()  # how models are split over workers, where the placement shall not decide
    parallel: int | None = None  # answers that a coordinator writes at once; None: 1, and up to 4 for the gateway
    kv_type: str = "f16"  # of the KV cache of a coordinator; q8_0 takes half the memory
    threads: int | None = None  # CPU threads of local engine processes; None: the engine's default
    temperature: float | None = None  # None: the engine's default
    seed: int | None = None
    max_tokens: int | None = None
    system_prompt: str | None = None
    stall_seconds: float | None = None  # a stream without a token for so long is given up; None: by its speed, 5 to 60
    start_seconds: float = 60.0  # a coordinator that shows no progress for so long is given up
    dllama_split: str = "auto"  # how the built-in root cuts a model: shares of every layer, or runs of layers
    failover: str = "auto"  # a worker is lost in the middle of an answer: go on, ask first (no client of the gateway is), or off
    relay: bool = False  # between a coordinator and its workers: a pulled cable is noticed, and what passes is counted
    relay_seconds: float = 5.0  # a worker that gives no sign of life for so long is lost to its relay
    relay_tls: Path | None = None  # the file that names the workers which are reached over TLS
    relay_cert: Path | None = None  # what we show them: a certificate and its key
    announce: bool = False  # a shell tells others of this machine's workers, and hears of theirs: by zeroconf, and at Consul


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of `config show`."""

    key: str
    value: Json
    layer: Layer
    note: str = ""

    def as_json(self) -> Json:
        return {"key": self.key, "value": self.value, "from": self.layer.value, "note": self.note}
