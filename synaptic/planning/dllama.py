"""
How a model lies over distributed-llama workers. Pure: values in, a value with its reason out; sizes in bytes.

Every node, the root on this machine first, holds the same slice of every layer. So there is nothing to weigh: as many
nodes as can share the heads, which is a power of two and never more than the model has KV heads. The embedding stays
with the root.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from synaptic.cluster.backend import Backend, State
from synaptic.dllama.header import DllamaHeader
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, EngineError
from synaptic.models.model import Model
from synaptic.planning.machine import Share
from synaptic.planning.plan import Plan
from synaptic.results import gib, plural

BUFFERS = {"Q40": "q80", "F32": "f32"}  # of the weights → between the nodes; no other pair has kernels
_BLOCK = 32  # values that are stored together, and so not cut
_F32 = 4


@dataclasses.dataclass(frozen=True)
class Spread:
    """`shares`: the root's first, with no endpoint. `left_out`: workers that are not used, and why."""

    plan: Plan
    shares: tuple[Share, ...]
    left_out: tuple[tuple[Endpoint, str], ...]
    why: str


def spread_dllama(model: Model, header: DllamaHeader, workers: Sequence[Backend], *, context: int, free: int | None = None) -> Spread:
    """
    `workers`: all that are known, as they were looked at just now; none: this machine alone. `free`: memory here, if known.

    Raises BackendError when none of the workers can be used, EngineError when distributed-llama cannot run the model, or
    this machine cannot hold the root's part.
    """
    if header.quantization not in BUFFERS:
        raise EngineError(
            f"{model.name} has {header.quantization} weights: dllama runs Q40 and F32 only", hint="convert it with q40 weights"
        )
    fit, left_out = _usable(workers)
    if workers and not fit:
        reasons = "; ".join(f"{endpoint} {why}" for endpoint, why in left_out[:3])
        raise BackendError(f"no dllama worker is ready: {reasons}", hint="try: dllama check, or: distributed off")
    nodes = _most_nodes(header, len(fit) + 1)
    chosen = fit[: nodes - 1]
    left_out += [(worker.endpoint, _too_many(header, nodes)) for worker in fit[nodes - 1 :]]
    plan = Plan(model, tuple(worker.endpoint for worker in chosen), min(context, header.context))
    shares = shares_of(header, plan.workers, plan.context)
    if free is not None and shares[0].bytes > free:
        raise _too_large(model, shares[0].bytes, free, nodes)
    return Spread(plan, shares, tuple(left_out), _why(nodes, left_out))


def shares_of(header: DllamaHeader, workers: Sequence[Endpoint], context: int) -> tuple[Share, ...]:
    """The root's first. Norms, which every node has whole, count as if they were cut: they are a few kilobytes."""
    nodes = len(workers) + 1
    embedding = _F32 * header.vocabulary * header.dim
    cut = -(-max(header.expected_bytes - header.header_bytes - embedding, 0) // nodes)
    kv = 2 * _F32 * min(context, header.context) * header.layers * header.kv_heads * header.head_dim // nodes
    root = Share(None, header.layers, embedding + cut, kv, 0)
    return (root, *(Share(worker, header.layers, cut, kv, 0) for worker in workers))


def _usable(workers: Sequence[Backend]) -> tuple[list[Backend], list[tuple[Endpoint, str]]]:
    """The best first, and those that cannot take part."""
    left_out = [(each.endpoint, each.detail or each.state.value) for each in workers if not each.is_there]
    there = [each for each in workers if each.is_there]
    left_out += [(each.endpoint, "dllama speaks IPv4 only") for each in there if each.endpoint.is_ipv6]
    there = sorted((each for each in there if not each.endpoint.is_ipv6), key=lambda each: each.state is State.UNVERIFIED)
    near = [each for each in there if each.endpoint.is_loopback]
    far = [each for each in there if not each.endpoint.is_loopback]
    if not near or not far:
        return there, left_out
    # each node calls the others by the root's names for them, and 127.0.0.1 is itself
    fit, others = (far, near) if len(far) >= len(near) else (near, far)
    return fit, left_out + [
        (each.endpoint, "loopback and other addresses do not mix: the workers call each other by them") for each in others
    ]


def _most_nodes(header: DllamaHeader, available: int) -> int:
    nodes = 1
    while nodes * 2 <= available and _can_be_cut(header, nodes * 2):
        nodes *= 2
    return nodes


def _can_be_cut(header: DllamaHeader, nodes: int) -> bool:
    width = header.moe_hidden_dim or header.hidden_dim
    block = _BLOCK if header.quantization == "Q40" else 1
    whole = (header.heads, header.kv_heads, header.vocabulary, header.heads * header.head_dim // block, width // block)
    return nodes <= header.kv_heads and not any(count % nodes for count in whole)


def _too_many(header: DllamaHeader, nodes: int) -> str:
    if not _can_be_cut(header, nodes * 2):
        return f"this model can be cut into {nodes} at most ({plural(header.kv_heads, 'KV head')})"
    return f"not needed: the nodes are a power of two, and {nodes} take part"


def _why(nodes: int, left_out: Sequence[tuple[Endpoint, str]]) -> str:
    over = f"every layer is cut into {nodes}: here and {plural(nodes - 1, 'worker')}" if nodes > 1 else "this machine alone"
    without = f"without {', '.join(f'{endpoint} ({why})' for endpoint, why in left_out)}" if left_out else ""
    return "; ".join(filter(None, (over, without)))


def _too_large(model: Model, need: int, free: int, nodes: int) -> EngineError:
    return EngineError(
        f"the root of {model.name} needs {gib(need)} here, with {plural(nodes, 'node')}, and has {gib(free)}: {gib(need - free)} missing",
        hint="try: dllama add more workers, or a smaller context: config set context N",
    )
