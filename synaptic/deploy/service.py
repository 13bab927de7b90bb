"""What runs where: each service of a profile as the words that start it, the same for systemd, compose and nohup. Values only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from synaptic.deploy.profile import BIN, Network, Node, Profile, is_ip
from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.planning.placement import Placement

RESOLVE = f"{BIN}/llama-resolve"
NOTIFY = f"{BIN}/llama-head-notify"
WIRED = 100.0  # Gbit/s between nodes from which on tensors may be split over them
GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Service:
    """
    `words`: its command; `ports`: those it listens on; `credentials`: files that it reads by name, which its words mention.
    `memory`: what the plan gives it of its machine's, in bytes; None: not known. `is_keyless`: whoever reaches it owns it.
    """

    name: str
    role: str
    node: Node
    words: tuple[str, ...]
    ports: tuple[int, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    credentials: Mapping[str, str] = dataclasses.field(default_factory=dict)
    memory: int | None = None
    load_seconds: float | None = None
    model: str | None = None
    is_keyless: bool = False
    beside: tuple[str, ...] = ()  # services on the same node that it needs
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def bare(self) -> tuple[str, ...]:
        """Its command where no systemd wants to be told how it is."""
        return self.words[self.words.index("--") + 1 :] if self.words[0] == NOTIFY else self.words


def services_of(profile: Profile, placed: Placement | None = None) -> list[Service]:
    """`placed`: a plan over the profile's machines; without one, no service has limits. Raises UsageError: nothing to serve."""
    found = [*_rpc(profile, placed), *_head(profile, placed), *_dllama(profile), *_vllm(profile)]
    if not found:
        raise UsageError(f"{profile.label} gives no node anything to serve", hint="name nodes below roles")
    return found


def _rpc(profile: Profile, placed: Placement | None) -> list[Service]:
    asked = profile.services.rpc
    return [
        Service(
            "llama-rpc",
            "llama_rpc",
            node,
            _resolved((asked.program, "--host", _at(profile, node), "--port", str(asked.port), *_threads(node, asked.threads), "-c")),
            (asked.port,),
            asked.environment,
            memory=None if node.kind.accelerators else _memory(placed, Endpoint(profile.address(node), asked.port)),
            is_keyless=True,
        )
        for node in profile.having("llama_rpc")
    ]


def _head(profile: Profile, placed: Placement | None) -> list[Service]:
    asked = profile.services.head
    if not profile.having("llama_head"):
        return []
    (node,) = profile.having("llama_head")
    if asked.model is None:
        raise UsageError(f"{profile.label} does not say which model {node.name} serves", hint="services.llama_head.model, a path on it")
    workers = [Endpoint(profile.address(each), profile.services.rpc.port) for each in profile.having("llama_rpc")]
    split: list[str] = []
    if placed and placed.fits:
        workers = [share.endpoint for share in placed.shares if share.endpoint]
        split = ["--tensor-split", ",".join(f"{part:g}" for part in placed.tensor_split)] if placed.tensor_split else []
    host = asked.host or profile.address(node)
    words = [asked.program, "--host", host, "--port", str(asked.port), "--model", asked.model, "--gpu-layers", "999"]
    words += ["--parallel", str(asked.slots), *(["--ctx-size", str(asked.context)] if asked.context else [])]
    words += ["--rpc", ",".join(map(str, workers)), *split] if workers else split
    words += ["--metrics", "--slots", "--cache-ram", "0"]  # its own cache of prompts would fetch their state from the workers
    files = {"api-key": asked.api_key_file, "certificate": asked.tls_certificate, "key": asked.tls_key}
    options = {"api-key": "--api-key-file", "certificate": "--ssl-cert-file", "key": "--ssl-key-file"}
    credentials = {name: path for name, path in files.items() if path}
    words += [word for name, path in credentials.items() for word in (options[name], path)]
    url = f"{'https' if asked.tls_certificate else 'http'}://{Endpoint(host, asked.port)}"
    key = ["--api-key-file", asked.api_key_file] if asked.api_key_file else []
    load = placed.prediction.load_seconds[1] * 3 if placed and placed.fits else None
    within = ["--load-within", f"{max(load, 60):.0f}"] if load else []
    return [
        Service(
            "llama-head",
            "llama_head",
            node,
            (NOTIFY, "--url", url, *key, *within, "--", *words),
            (asked.port,),
            asked.environment,
            credentials,
            memory=None if node.kind.accelerators else _memory(placed, None),
            load_seconds=load,
            model=asked.model,
            beside=("llama-rpc.service",) if node in profile.having("llama_rpc") else (),
        )
    ]


def _dllama(profile: Profile) -> list[Service]:
    asked, root = profile.services.dllama_worker, profile.services.dllama_root
    found = [
        Service(
            "dllama-worker",
            "dllama_worker",
            node,
            _resolved(
                (
                    asked.program,
                    "worker",
                    "--host",
                    _at(profile, node),
                    "--port",
                    str(asked.port),
                    "--nthreads",
                    _cores(node, asked.threads),
                )
            ),
            (asked.port,),
            is_keyless=True,
        )
        for node in profile.having("dllama_worker")
    ]
    for node in profile.having("dllama_root"):
        if not root.model or not root.tokenizer:
            raise UsageError(
                f"{profile.label} does not say which model {node.name} serves", hint="services.dllama_root: model and tokenizer"
            )
        words = ["--model", root.model, "--tokenizer", root.tokenizer, "--buffer-float-type", root.buffer]
        words += ["--nthreads", _cores(node, root.threads)]
        at = [f"{_at(profile, each)}:{asked.port}" for each in profile.having("dllama_worker")]
        workers = ["--workers", *at] if at else []  # words of their own: it takes no commas
        serve = [root.program, "--host", _at(profile, node), "--port", str(root.port), *words, *workers]
        once = [asked.program, "inference", "--prompt", "Hello", "--steps", "32", *words, *workers]
        found.append(Service("dllama-api", "dllama_root", node, _resolved(tuple(serve)), (root.port,), model=root.model))
        found.append(Service("dllama-root", "dllama_root", node, _resolved(tuple(once)), model=root.model))
    return found


def _vllm(profile: Profile) -> list[Service]:
    asked = profile.services.vllm
    nodes = (*profile.having("vllm_head"), *profile.having("vllm_worker"))
    if not profile.having("vllm_head"):
        return []
    if asked.model is None:
        raise UsageError(f"{profile.label} does not say which model vLLM serves", hint="services.vllm.model, the same path on each node")
    tensor, pipeline, why = parallelism(profile.network, [max(len(node.kind.devices), 1) for node in nodes])
    shape = ["-tp", str(tensor), "-pp", str(pipeline), "--nnodes", str(len(nodes)), "--distributed-executor-backend", "mp"]
    shape += ["--quantization", asked.quantization] if asked.quantization else []
    master = ["--master-addr", _at(profile, nodes[0]), "--master-port", str(asked.master_port)]
    found = []
    for rank, node in enumerate(nodes):
        face = ["--headless"] if rank else ["--host", profile.address(node), "--port", str(asked.port)]
        words = (asked.program, "serve", asked.model, *shape, "--node-rank", str(rank), *master, *face)
        ports = () if rank else (asked.port, asked.master_port)
        notes = {"rank": str(rank), "ranks": str(len(nodes)), "why": why}
        found.append(
            Service("vllm-node", "vllm_worker" if rank else "vllm_head", node, _resolved(words), ports, model=asked.model, notes=notes)
        )
    return found


def parallelism(network: Network, devices: list[int]) -> tuple[int, int, str]:
    """How vLLM splits a model over nodes with so many accelerators each: (tensor, pipeline, why)."""
    each, gbps = min(devices), network.gbps.value
    if len(devices) == 1:
        return each, 1, "One node: its accelerators share every layer."
    if gbps is not None and gbps >= WIRED:
        return each * len(devices), 1, f"{gbps:g} Gbit/s between nodes: all accelerators share every layer."
    link = "a link of unknown speed" if gbps is None else f"{gbps:g} Gbit/s"
    return each, len(devices), f"Over {link} between nodes, layers are split: it carries activations once a token."


def _at(profile: Profile, node: Node) -> str:
    """An address; a name as llama-resolve takes it."""
    address = profile.address(node)
    return address if is_ip(address) else f"@{address}@"


def _resolved(words: tuple[str, ...]) -> tuple[str, ...]:
    return (RESOLVE, *words) if any(word.count("@") >= 2 for word in words) else words


def _threads(node: Node, asked: int | None) -> tuple[str, ...]:
    """An accelerator's worker needs none."""
    return () if node.kind.accelerators and not asked else ("--threads", _cores(node, asked))


def _cores(node: Node, asked: int | None) -> str:
    """Every one of the node's, which it counts itself where the profile does not know."""
    known = asked or node.kind.cores.value
    return f"{known:.0f}" if known else "@nproc@"


def _memory(placed: Placement | None, endpoint: Endpoint | None) -> int | None:
    """What the plan puts there, a tenth for what the allocator adds, and half a GiB for the program itself."""
    if placed is None or not placed.fits:
        return None
    share = next((share for share in placed.shares if share.endpoint == endpoint), None)
    return round(share.bytes * 1.1) + GIB // 2 if share else None
