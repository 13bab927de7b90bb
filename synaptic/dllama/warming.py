"""
Has the kernels that a graph needs compiled, or read from numba's cache, while its weights are loaded: seconds the first
time on a machine, else a moment.

The smallest model of the same kind is run: whatever types its operations call kernels with, those of the graph do too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading

from synaptic.dllama.builder import build
from synaptic.dllama.compute import compute
from synaptic.dllama.graph import FloatType, NodeConfig, OpCode, OpConfig, RopeConfig, RopeType, WeightMessage
from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.passes import Passes


@dataclasses.dataclass(frozen=True)
class Kind:
    architecture: str
    quantization: str


_USUAL = (Kind("llama", "Q40"), Kind("qwen3", "Q40"), Kind("qwen3moe", "Q40"), Kind("llama", "F32"))
_warm: set[Kind] = set()
_lock = threading.Lock()


def kind(node: NodeConfig) -> Kind | None:
    """None: it computes nothing that is worth it."""
    ops = [op for segment in node.segments for op in segment.ops]
    if not any(op.code is OpCode.MATMUL for op in ops):
        return None
    has_experts, has_halves = any(op.code is OpCode.MOE_GATE for op in ops), any(_is_halves(op) for op in ops)
    is_quantized = any(op.weight.type is FloatType.Q40 for op in ops)
    return Kind("qwen3moe" if has_experts else "qwen3" if has_halves else "llama", "Q40" if is_quantized or has_experts else "F32")


def warm() -> None:
    """Everything, before the first root needs it; the models that are asked for most come first."""
    if compute().is_compiled:
        for wanted in _USUAL:
            if thread := warm_up(wanted):
                thread.join()


def _is_halves(op: OpConfig) -> bool:
    return isinstance(op.config, RopeConfig) and op.config.type is RopeType.FALCON


def warm_up(wanted: Kind) -> threading.Thread | None:
    """To be joined before the first pass. None: it was done before, in this process."""
    with _lock:
        if wanted in _warm:
            return None
        _warm.add(wanted)
    thread = threading.Thread(target=_run, args=(wanted,), name="dllama kernels")  # no daemon: a compiler must not be cut off
    thread.start()
    return thread


def _run(wanted: Kind) -> None:
    net, (node,) = build(_smallest(wanted), 1, context=4)
    with contextlib.closing(Passes(net, node)) as tiny:
        for op in (op for segment in node.segments for op in segment.ops if op.weight.type is FloatType.Q40):
            tiny.load(WeightMessage(op.name, op.index, 0, bytes(op.weight.n_bytes)))
        for batch in (1, 2):
            tiny.forward(batch, 0, lambda sync: None)


def _smallest(wanted: Kind) -> DllamaHeader:
    experts = 2 if wanted.architecture == "qwen3moe" else 0
    return DllamaHeader(
        architecture=wanted.architecture,
        version=0,
        dim=32,
        hidden_dim=32,
        layers=2,
        heads=1,
        kv_heads=1,
        head_dim=32,
        experts=experts,
        active_experts=experts,
        vocabulary=32,
        context=4,
        activation=1,
        rope_type=0 if wanted.architecture == "llama" else 1,
        rope_theta=1e4,
        rope_scaling=1,
        rope_low_frequency=0,
        rope_high_frequency=0,
        rope_original_context=0,
        norm_epsilon=1e-5,
        moe_hidden_dim=32,
        quantization=wanted.quantization,
        header_bytes=0,
        file_bytes=0,
    )
