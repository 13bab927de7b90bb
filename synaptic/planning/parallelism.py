"""
How vLLM lies over several accelerators: tensors cut (every layer over t of them), layers cut (p stages), or both. Pure.

    stage   = max((weights / t + KV of b answers / t) / bandwidth, 2 · parameters / t · b / compute)
            + 2 layers · (all-reduce: 2 (t - 1) / 2 round trips, 2 (t - 1) / t · 2 · hidden · b bytes over the slowest link)
    token   = Σ stages + between stages (half a round trip, 2 · hidden · b bytes) + the host
    many    = b answers in p groups: the slowest stage is always at work, each group waits for the whole way

What vLLM demands: heads divisible by t; KV heads divisible by t, or t by them; the same number of accelerators on each
node. It calls nine tenths of an accelerator's memory its own. Bytes and seconds; a link's bandwidth in bytes/s.

Beside what others measured: two machines of 273 GB/s on 200 Gbit/s gave 2.09 × with tensors cut and 1.08 × with layers
cut; these formulas say 1.96 and 1.0. vLLM's own rule (tensors inside a node, layers between nodes) is what comes out
where links between nodes are slow, and is followed where nothing is known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from synaptic.planning.architecture import Architecture
from synaptic.planning.costmodel import EFFICIENCY, FILLED, SPECIFIED
from synaptic.results import gib, plural

OWN = 0.9  # of an accelerator's memory
OVERHEAD = int(1.5 * (1 << 30))  # bytes on each: graphs, activations, the communication's buffers
HOST = 1e-3  # seconds for each step
LAUNCH = 15e-6  # seconds of a collective beside its way
INSIDE_RTT, INSIDE_BANDWIDTH = 10e-6, 20e9  # between accelerators of a node, over PCIe, where nothing else is known
EQUAL = 0.05  # part; a layout that is faster by less is not worth a wider cut
FAST = 100e9 / 8  # bytes/s between nodes from which on tensors may be cut over them where the model is not known


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """None: not known. `memory` in bytes, `bandwidth` in bytes/s, `compute` in flop/s."""

    memory: int | None = None
    bandwidth: float | None = None
    compute: float | None = None


@dataclasses.dataclass(frozen=True)
class Link:
    round_trip: float | None = None
    bandwidth: float | None = None

    @property
    def is_known(self) -> bool:
        return self.round_trip is not None and self.bandwidth is not None


@dataclasses.dataclass(frozen=True)
class Site:
    """`nodes`: how many accelerators each has; all are alike, or the least of them stands for all."""

    nodes: tuple[int, ...]
    accelerator: Accelerator
    between: Link = Link()
    inside: Link = Link(INSIDE_RTT, INSIDE_BANDWIDTH)

    @property
    def each(self) -> int:
        return min(self.nodes)


@dataclasses.dataclass(frozen=True)
class Layout:
    """
    `against`: why vLLM would refuse it, or what is missing; empty: it may be. `need`: bytes on the fullest accelerator.

    Tokens/s of one answer alone and of all answers together; None: of the machines too little is known.
    """

    tensor: int
    pipeline: int
    nodes: int
    need: int = 0
    alone: float | None = None
    together: float | None = None
    against: str = ""

    @property
    def name(self) -> str:
        cuts = [f"tensors by {self.tensor}" if self.tensor > 1 else "", f"layers by {self.pipeline}" if self.pipeline > 1 else ""]
        return " and ".join(filter(None, cuts)) or "one accelerator"

    @property
    def range(self) -> tuple[float, float] | None:
        """Of the tokens/s of all answers together."""
        return (self.together * (1 - SPECIFIED), self.together * (1 + SPECIFIED)) if self.together else None


def layouts(model: Architecture, site: Site, *, batch: int = 1, context: int = 8192) -> list[Layout]:
    """
    Every way to use all accelerators of the first n nodes, n from one to all of them; or one accelerator alone.

    For `batch` answers at once, with room for `context` tokens of each.
    """
    ways = [(1, 1, 1)]  # tensor, pipeline, nodes
    for nodes in range(1, len(site.nodes) + 1):
        world = nodes * site.each
        cuts = [tensor for tensor in range(1, world + 1) if world % tensor == 0 and (site.each % tensor == 0 or tensor % site.each == 0)]
        ways += [(tensor, world // tensor, nodes) for tensor in cuts]
    return [_layout(model, site, *way, batch=batch, context=context) for way in dict.fromkeys(ways)]


def best(found: Sequence[Layout], nodes: int) -> Layout | None:
    """
    The fastest of those that use so many nodes, None where none can be; of equals the one with fewer cut tensors.

    Where speeds are not known: tensors inside a node, layers between nodes.
    """
    able = [each for each in found if each.nodes == nodes and not each.against]
    if nodes == 1:
        able = [each for each in able if each.tensor * each.pipeline > 1] or able
    if not able:
        return None
    if any(each.together is None for each in able):
        return next((each for each in able if each.pipeline == nodes), min(able, key=lambda each: each.pipeline))
    fastest = max(each.together or 0.0 for each in able)
    return min((each for each in able if (each.together or 0.0) >= fastest * (1 - EQUAL)), key=lambda each: each.tensor)


def by_rule(site: Site) -> tuple[int, int]:
    """(tensor, pipeline) where the model is not known."""
    nodes, fast = len(site.nodes), site.between.bandwidth is not None and site.between.bandwidth >= FAST
    return (site.each * nodes, 1) if nodes == 1 or fast else (site.each, nodes)


def _layout(model: Architecture, site: Site, tensor: int, pipeline: int, nodes: int, *, batch: int, context: int) -> Layout:
    need = _need(model, tensor, pipeline, batch * context)
    against = _against(model, tensor, pipeline) or _too_small(site.accelerator, need)
    alone = _rate(model, site, tensor, pipeline, nodes, 1, context)
    together = _rate(model, site, tensor, pipeline, nodes, batch, context)
    return Layout(tensor, pipeline, nodes, need, alone, together, against)


def _against(model: Architecture, tensor: int, pipeline: int) -> str:
    if model.heads % tensor:
        return f"{model.heads} heads cannot be cut by {tensor}"
    if model.kv_heads % tensor and tensor % model.kv_heads:
        return f"{model.kv_heads} KV heads cannot be cut by {tensor}"
    if model.bits < 8 and (model.intermediate // tensor) % 128:
        return f"cut by {tensor}, a matrix ends inside a group of 128 quantized weights"
    return f"{plural(model.layers, 'layer')} cannot be dealt out to {pipeline} stages" if pipeline > model.layers else ""


def _too_small(accelerator: Accelerator, need: int) -> str:
    if accelerator.memory is None or need <= accelerator.memory * OWN:
        return ""
    return f"needs {gib(need)} on each, and vLLM takes {gib(round(accelerator.memory * OWN))} of theirs"


def _need(model: Architecture, tensor: int, pipeline: int, tokens: int) -> int:
    """The fullest stage has a layer more than others, or an end of the model."""
    layers = -(-model.layers // pipeline)
    ends = 2 if pipeline == 1 else 1
    weights = (layers * model.layer_bytes + ends * model.end_bytes) / tensor
    return round(weights + layers * model.kv_bytes(tensor) * tokens) + OVERHEAD


def _rate(model: Architecture, site: Site, tensor: int, pipeline: int, nodes: int, batch: int, context: int) -> float | None:
    """Tokens/s of `batch` answers together. With several stages they go in as many groups."""
    if not site.accelerator.bandwidth or (nodes > 1 and not site.between.is_known):
        return None
    groups = min(pipeline, batch)
    size = batch / groups
    stages = [_stage(model, site, tensor, layers, size, context) for layers in _layers(model.layers, pipeline)]
    stages[-1] += model.end_bytes / tensor / (site.accelerator.bandwidth * EFFICIENCY["F16"])
    way = sum(stages) + _hops(model, site, tensor, pipeline, nodes, size) + HOST
    return batch / max(way, groups * (max(stages) + HOST))


def _layers(layers: int, pipeline: int) -> list[int]:
    """As vLLM deals them out: what is left over goes to the stages before the last."""
    dealt = [layers // pipeline] * pipeline
    for number in range(2, layers % pipeline + 2):
        dealt[-number] += 1
    return dealt


def _stage(model: Architecture, site: Site, tensor: int, layers: int, size: float, context: int) -> float:
    accelerator = site.accelerator
    assert accelerator.bandwidth
    read = model.read_bytes / tensor + size * min(context, FILLED) * model.kv_bytes(tensor)
    by_memory = read / (accelerator.bandwidth * model.efficiency)
    by_compute = model.flop / tensor * size / accelerator.compute if accelerator.compute else 0.0
    return layers * (max(by_memory, by_compute) + 2 * _all_reduce(model, site, tensor, size))


def _all_reduce(model: Architecture, site: Site, tensor: int, size: float) -> float:
    """A ring over all that share a layer; who is in another node is as far as the link between nodes."""
    if tensor == 1:
        return 0.0
    link = site.between if tensor > site.each else site.inside
    across = -(-tensor // site.each)
    steps = (across - 1) * (site.between.round_trip or 0.0) if tensor > site.each else (tensor - 1) * (site.inside.round_trip or 0.0)
    moved = 2 * (tensor - 1) / tensor * 2 * model.hidden * size
    return LAUNCH + steps + moved / (link.bandwidth or INSIDE_BANDWIDTH)


def _hops(model: Architecture, site: Site, tensor: int, pipeline: int, nodes: int, size: float) -> float:
    """From stage to stage, and the new token back to the first."""
    if pipeline == 1:
        return 0.0
    stages_inside = max(site.each // tensor, 1) if tensor <= site.each else 1
    far = -(-pipeline // stages_inside) - 1 if nodes > 1 else 0
    near = pipeline - 1 - far
    seconds = 0.0
    for count, link in ((far, site.between), (near, site.inside)):
        seconds += count * ((link.round_trip or 0.0) / 2 + LAUNCH + 2 * model.hidden * size / (link.bandwidth or INSIDE_BANDWIDTH))
    return seconds + ((site.between if far else site.inside).round_trip or 0.0) / 2
