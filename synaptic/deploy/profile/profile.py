"""A hardware profile: the machines of one cluster, what is known of each, and what each serves. Values only."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping

from synaptic.endpoint import DLLAMA_PORT, RPC_PORT
from synaptic.planning.architecture import Architecture

BIN = "/usr/local/bin"
MANY = ("llama_rpc", "dllama_worker", "vllm_worker", "monitoring")  # roles that several nodes have
ONE = ("llama_head", "dllama_root", "vllm_head")


@dataclasses.dataclass(frozen=True)
class Number:
    """A figure and where it is from. `at`: a date, such as 2026-11-21."""

    spec: float | None = None
    measured: float | None = None
    source: str | None = None
    at: str | None = None

    @property
    def value(self) -> float | None:
        """What was measured counts more; None: not known."""
        return self.spec if self.measured is None else self.measured

    def __str__(self) -> str:
        if self.value is None:
            return "not known"
        return f"{self.value:g} ({'spec' if self.measured is None else 'measured'}: {self.source}, {self.at})"


UNKNOWN = Number()


@dataclasses.dataclass(frozen=True)
class Device:
    """An accelerator. `backend`: what llama.cpp can drive it with; empty: nothing."""

    id: str
    kind: str
    vendor: str
    model: str
    mem_gib: Number = UNKNOWN
    mem_bw_gbs: Number = UNKNOWN
    tflops_fp16: Number = UNKNOWN
    backend: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class NodeClass:
    """Machines that are alike. `systemd` None: not known, and taken as current."""

    name: str
    arch: str
    cpu: str | None
    cores: Number
    mem_gib: Number
    mem_bw_gbs: Number
    devices: tuple[Device, ...]
    distro: str | None
    systemd: int | None
    cgroup: str | None
    reserve_gib: Number

    @property
    def accelerators(self) -> tuple[Device, ...]:
        """Those that llama.cpp can use."""
        return tuple(device for device in self.devices if device.backend)


@dataclasses.dataclass(frozen=True)
class Network:
    name: str
    kind: str
    cidr: str | None
    gbps: Number
    rtt_us: Number


@dataclasses.dataclass(frozen=True)
class Node:
    name: str
    kind: NodeClass
    addresses: Mapping[str, str]  # by network


@dataclasses.dataclass(frozen=True)
class Rpc:
    port: int = RPC_PORT
    program: str = f"{BIN}/ggml-rpc-server"
    threads: int | None = None
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Head:
    """`host`: where it serves; without one, its node's address in the cluster's network. `context`: tokens of one slot."""

    port: int = 8080
    host: str | None = None
    program: str = f"{BIN}/llama-server"
    model: str | None = None
    context: int | None = None
    slots: int = 1
    api_key_file: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class DllamaWorker:
    port: int = DLLAMA_PORT
    program: str = f"{BIN}/dllama"
    threads: int | None = None


@dataclasses.dataclass(frozen=True)
class DllamaRoot:
    """`program` is dllama-api; dllama lies beside the workers' one. One of them at a time owns the workers."""

    port: int = 9990
    host: str | None = None
    program: str = f"{BIN}/dllama-api"
    model: str | None = None
    tokenizer: str | None = None
    buffer: str = "q80"
    threads: int | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """distributed-llama, compiled on each node that runs it. `version`: a commit, tag or branch; below `dir` each has its own folder."""

    repository: str
    version: str
    dir: str = "/opt/src/distributed-llama"


@dataclasses.dataclass(frozen=True)
class Install:
    """Python packages for `program`, in an environment of their own. `indexes`: where from; without any, PyPI."""

    packages: tuple[str, ...]
    indexes: tuple[str, ...] = ()
    python: str = "python3"


@dataclasses.dataclass(frozen=True)
class Vllm:
    """
    `name`: what the model is called in requests; `requests`: answers at once that the cut is chosen for; `memory`: vLLM's
    part of an accelerator's. `environment_file` sets VLLM_API_KEY. `executor`: mp, or ray as before vLLM 0.18.
    """

    port: int = 8000
    master_port: int = 29501
    program: str = "/opt/vllm/bin/vllm"
    install: Install | None = None
    model: str | None = None
    name: str | None = None
    quantization: str | None = None
    context: int | None = None
    requests: int = 1
    memory: float | None = None
    tensor: int | None = None
    pipeline: int | None = None
    executor: str = "mp"
    ray_port: int = 6379
    environment_file: str | None = None
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    architecture: Architecture | None = None


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """A line of the models directory's manifest. `name` is relative to it."""

    name: str
    bytes: int
    sha256: str
    source: str | None = None


@dataclasses.dataclass(frozen=True)
class Step:
    """A Step CA that renews a certificate, and its root certificate on the node."""

    ca_url: str
    root: str
    program: str = "/usr/bin/step"


@dataclasses.dataclass(frozen=True)
class Tls:
    """PEM files on the node. `front`: a stunnel that speaks TLS in the place of servers that do not."""

    certificate: str
    key: str
    front: str | None = None
    step: Step | None = None


@dataclasses.dataclass(frozen=True)
class Monitoring:
    """Whom every monitored node tells of its services: a Consul agent on it, its systemd-resolved."""

    consul: bool = False
    zeroconf: bool = False


@dataclasses.dataclass(frozen=True)
class Services:
    """`models_export`: HOST:/PATH, for the unit that mounts `models_dir`; without it the mount is somebody else's."""

    network: str
    user: str = "llama"
    models_dir: str = "/srv/models"
    models_kind: str = "local"
    models_export: str | None = None
    models_files: tuple[ModelFile, ...] = ()
    tls: Tls | None = None
    monitoring: Monitoring = Monitoring()
    rpc: Rpc = Rpc()
    head: Head = Head()
    dllama_worker: DllamaWorker = DllamaWorker()
    dllama_root: DllamaRoot = DllamaRoot()
    dllama_source: Source | None = None
    vllm: Vllm = Vllm()


@dataclasses.dataclass(frozen=True)
class Profile:
    """`canonical`: all of it as JSON, of which `sha256` is the sum: comments and order do not count."""

    name: str
    version: str
    status: str
    about: str
    control: str | None
    control_user: str | None
    networks: Mapping[str, Network]
    nodes: Mapping[str, Node]
    roles: Mapping[str, tuple[str, ...]]
    services: Services
    sha256: str
    canonical: str = dataclasses.field(repr=False)

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def network(self) -> Network:
        """The one that workers listen on."""
        return self.networks[self.services.network]

    def having(self, role: str) -> tuple[Node, ...]:
        return tuple(self.nodes[name] for name in self.roles.get(role, ()))

    def address(self, node: Node) -> str:
        """In the cluster's network: an IP address, or a name that is looked up when a service starts."""
        return node.addresses[self.services.network]

    def reached_at(self, name: str) -> str:
        """By whoever administers it: a node in the cluster's network, or in the first one that it is in; `control` by its name."""
        if name not in self.nodes:
            return name
        addresses = self.nodes[name].addresses
        return addresses.get(self.services.network) or next(iter(addresses.values()))


def is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def parts_of(version: str) -> tuple[int, ...]:
    """0.10 comes after 0.9."""
    return tuple(map(int, version.split(".")))
