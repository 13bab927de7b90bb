"""
vLLM over the nodes of a profile: how the model is cut, and the words that start each node.

    mp    vllm serve MODEL … --nnodes N --node-rank 0 --master-addr A            the others: --node-rank i --headless
    ray   the older way: on each node `ray start`, on the head also vllm serve … --distributed-executor-backend ray

Every node has the model at the same path. A key comes from a file that sets VLLM_API_KEY, never from the words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import PurePosixPath

from synaptic.deploy.profile.profile import Node, Profile
from synaptic.deploy.services.service import ENV, RANK, Service, at, resolved
from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.planning.architecture import Architecture
from synaptic.planning.parallelism import Accelerator, Layout, Link, Site, best, by_rule, layouts
from synaptic.results import GIB

CONTEXT = 8192  # tokens, where the profile does not say
CHOSEN = "32768-60999"  # ports that Linux gives whoever asks for any: vLLM's nodes, and Ray's, listen there for one another
OF_RAY = "10002-19999"  # of its workers
RAY = "ray-node"


@dataclasses.dataclass(frozen=True)
class Cut:
    """`compared`: every way that was weighed; empty where the profile does not say how the model is built."""

    tensor: int
    pipeline: int
    why: str
    compared: tuple[Layout, ...] = ()


def vllm_services(profile: Profile) -> list[Service]:
    """Raises UsageError: no model is named, or vLLM could not serve it so."""
    asked = profile.services.vllm
    if not profile.having("vllm_head"):
        return []
    if asked.model is None:
        raise UsageError(f"{profile.label} does not say which model vLLM serves", hint="services.vllm.model, the same path on each node")
    cut = cut_of(profile)
    return _by_ray(profile, asked.model, cut) if asked.executor == "ray" else _by_ranks(profile, asked.model, cut)


def cut_of(profile: Profile, *, requests: int | None = None, context: int | None = None, model: Architecture | None = None) -> Cut:
    """
    For so many answers at once, of so many tokens; without them, as the profile says. Raises UsageError.

    `model`: how it is built, where the profile does not say, or another one is meant.
    """
    asked, site = profile.services.vllm, site_of(profile)
    nodes, built = len(site.nodes), model or asked.architecture
    compared = layouts(built, site, batch=requests or asked.requests, context=context or asked.context or CONTEXT) if built else []
    if asked.tensor and asked.pipeline:
        return _as_asked(profile, site, asked.tensor, asked.pipeline, compared)
    if not compared:
        tensor, pipeline = by_rule(site)
        return Cut(tensor, pipeline, f"{_rule(site, tensor, pipeline)} How the model is built is not known.")
    chosen = best(compared, nodes)
    if chosen is None:
        reasons = "; ".join(dict.fromkeys(f"{each.name}: {each.against}" for each in compared if each.nodes == nodes))
        raise UsageError(f"vLLM cannot serve this model on {profile.label}: {reasons}", hint="a smaller context, or other nodes in roles")
    return Cut(chosen.tensor, chosen.pipeline, _why(site, chosen, compared), tuple(compared))


def site_of(profile: Profile) -> Site:
    """What is known of the nodes that vLLM is to use, and of the network between them. Without a head there are none."""
    nodes = vllm_nodes(profile)
    devices = [device for node in nodes for device in node.kind.devices]
    memory, bandwidth, compute = ([getattr(device, name).value for device in devices] for name in ("mem_gib", "mem_bw_gbs", "tflops_fp16"))
    room = _least(memory, GIB)
    accelerator = Accelerator(None if room is None else round(room), _least(bandwidth, 1e9), _least(compute, 1e12))
    rtt, gbps = profile.network.rtt_us.value, profile.network.gbps.value
    between = Link(None if rtt is None else rtt / 1e6, None if gbps is None else gbps * 1e9 / 8)
    return Site(tuple(max(len(node.kind.devices), 1) for node in nodes), accelerator, between)


def vllm_nodes(profile: Profile) -> tuple[Node, ...]:
    """The head first: it is rank 0."""
    return (*profile.having("vllm_head"), *profile.having("vllm_worker"))


def _by_ranks(profile: Profile, model: str, cut: Cut) -> list[Service]:
    asked, nodes = profile.services.vllm, vllm_nodes(profile)
    many = ["--nnodes", str(len(nodes)), "--master-addr", at(profile, nodes[0]), "--master-port", str(asked.master_port)]
    found = []
    for rank, node in enumerate(nodes):
        own = [*many, "--node-rank", str(rank), *(["--headless"] if rank else [])] if len(nodes) > 1 else []
        ports = () if rank else (asked.port, asked.master_port) if len(nodes) > 1 else (asked.port,)
        words = [*_serve(profile, model, cut, node, is_head=not rank), "--distributed-executor-backend", "mp", *own]
        service = _service(profile, node, rank, words, ports, cut)
        found.append(dataclasses.replace(service, words=_watching(profile, service.words)) if rank else service)
    return found


def _watching(profile: Profile, words: tuple[str, ...]) -> tuple[str, ...]:
    """A rank whose first one ended stays, as was seen, and the next first one waits for it in vain."""
    head = Endpoint(profile.address(vllm_nodes(profile)[0]), profile.services.vllm.port)
    return (RANK, "--head", f"http://{head}/health", "--", *words)


def _by_ray(profile: Profile, model: str, cut: Cut) -> list[Service]:
    asked, nodes = profile.services.vllm, vllm_nodes(profile)
    program = str(PurePosixPath(asked.program).with_name("ray"))
    head = f"{at(profile, nodes[0])}:{asked.ray_port}"
    found = []
    for rank, node in enumerate(nodes):
        where = ["--address", head] if rank else ["--head", "--port", str(asked.ray_port), "--include-dashboard=false"]
        words = [program, "start", *where, "--node-ip-address", at(profile, node), "--disable-usage-stats", "--block"]
        notes = {"rank": str(rank), "ranks": str(len(nodes)), "why": cut.why}
        role = "vllm_worker" if rank else "vllm_head"
        ports = () if rank else (asked.ray_port,)
        service = Service(RAY, role, node, resolved(_placed(profile, node, words)), ports, asked.environment, is_keyless=True, notes=notes)
        found.append(dataclasses.replace(service, crew_ports=(OF_RAY, CHOSEN)))
    words = [*_serve(profile, model, cut, nodes[0], is_head=True), "--distributed-executor-backend", "ray"]
    first = _service(profile, nodes[0], 0, words, (asked.port,), cut)
    environment = {**first.environment, "RAY_ADDRESS": f"{profile.address(nodes[0])}:{asked.ray_port}"}
    return [*found, dataclasses.replace(first, beside=(f"{RAY}.service",), environment=environment)]


def _serve(profile: Profile, model: str, cut: Cut, node: Node, *, is_head: bool) -> list[str]:
    asked = profile.services.vllm
    words = [asked.program, "serve", model]
    words += ["--host", at(profile, node), "--port", str(asked.port)] if is_head else []
    words += ["--tensor-parallel-size", str(cut.tensor), "--pipeline-parallel-size", str(cut.pipeline)]
    given = {
        "--served-model-name": asked.name,
        "--quantization": asked.quantization,
        "--max-model-len": asked.context,
        "--gpu-memory-utilization": asked.memory,
    }
    return words + [word for option, value in given.items() if value is not None for word in (option, f"{value}")]


def _service(profile: Profile, node: Node, rank: int, words: Sequence[str], ports: tuple[int, ...], cut: Cut) -> Service:
    asked, count = profile.services.vllm, len(vllm_nodes(profile))
    return Service(
        "vllm-node",
        "vllm_worker" if rank else "vllm_head",
        node,
        resolved(_placed(profile, node, words)),
        ports,
        asked.environment,
        model=asked.model,
        notes={"rank": str(rank), "ranks": str(count), "why": cut.why},
        has_key=bool(asked.environment_file) and count == 1,  # among themselves its nodes ask for none
        environment_file=asked.environment_file,
        crew_ports=(CHOSEN,) if count > 1 else (),
    )


def _placed(profile: Profile, node: Node, words: Sequence[str]) -> tuple[str, ...]:
    """A machine in several networks would tell the others whichever address it finds first."""
    fixed = f"VLLM_HOST_IP={at(profile, node)}"
    return (ENV, fixed, "VLLM_NO_USAGE_STATS=1", *words)


def _as_asked(profile: Profile, site: Site, tensor: int, pipeline: int, compared: Sequence[Layout]) -> Cut:
    whole, nodes = tensor * pipeline, len(site.nodes)
    if whole % nodes or whole > nodes * site.each:
        raise UsageError(
            f"{profile.label}: tensor {tensor} × pipeline {pipeline} does not fit {nodes} nodes with {site.each} accelerators each",
            hint="services.vllm: leave both out, and they are chosen",
        )
    wrong = next((each.against for each in compared if (each.tensor, each.pipeline) == (tensor, pipeline) and each.against), "")
    if wrong:
        raise UsageError(f"{profile.label}: tensor {tensor} × pipeline {pipeline}: {wrong}", hint="leave both out, and they are chosen")
    return Cut(tensor, pipeline, "The profile says so.", tuple(compared))


def _why(site: Site, chosen: Layout, compared: Sequence[Layout]) -> str:
    """The choice, and by how much the next best is slower."""
    if chosen.together is None:
        return f"{_rule(site, chosen.tensor, chosen.pipeline)} {_unknown(site)}"
    others = [each for each in compared if each.nodes == chosen.nodes and not each.against and each is not chosen]
    second = max(others, key=lambda each: each.together or 0.0, default=None)
    text = f"{chosen.name.capitalize()}: {chosen.together:.1f} tok/s expected"
    return f"{text}, {second.together:.1f} with {second.name}." if second and second.together else f"{text}."


def _rule(site: Site, tensor: int, pipeline: int) -> str:
    if len(site.nodes) == 1:
        return "One node: its accelerators share every layer."
    if pipeline == 1:
        return "The nodes' link is fast: all accelerators share every layer."
    inside = "accelerators share every layer inside a node, and " if tensor > 1 else ""
    return f"Over the nodes' link layers are split: {inside}it carries activations once a token.".replace("split: acc", "split; acc")


def _unknown(site: Site) -> str:
    missing = [
        "the accelerators' memory bandwidth" if site.accelerator.bandwidth is None else "",
        "the link's round trip" if len(site.nodes) > 1 and site.between.round_trip is None else "",
        "the link's bandwidth" if len(site.nodes) > 1 and site.between.bandwidth is None else "",
    ]
    return f"Not known, so not weighed: {', '.join(filter(None, missing))}."


def _least(values: Sequence[float | None], unit: float) -> float | None:
    """None where one of them is not known."""
    known = [value for value in values if value is not None]
    return min(known) * unit if known and len(known) == len(values) else None
