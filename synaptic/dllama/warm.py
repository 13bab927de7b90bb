"""Have every kernel compiled before the first root needs it: a second, and some more the first time on a machine."""

from __future__ import annotations

import dataclasses

from synaptic.dllama.builder import build
from synaptic.dllama.executor import Executor
from synaptic.dllama.graph import FloatType, OpCode, WeightMessage
from synaptic.dllama.header import ARCHITECTURES, LLAMA, QWEN3, QWEN3_MOE, DllamaHeader

_LLAMA = DllamaHeader(
    architecture=ARCHITECTURES[LLAMA],
    version=0,
    dim=32,
    hidden_dim=32,
    layers=2,
    heads=1,
    kv_heads=1,
    head_dim=32,
    experts=0,
    active_experts=0,
    vocabulary=32,
    context=8,
    activation=1,
    rope_type=0,
    rope_theta=10_000.0,
    rope_scaling=1.0,
    rope_low_frequency=0.0,
    rope_high_frequency=0.0,
    rope_original_context=0,
    norm_epsilon=1e-5,
    moe_hidden_dim=0,
    quantization="Q40",
    header_bytes=0,
    file_bytes=0,
)
_QWEN3 = dataclasses.replace(_LLAMA, architecture=ARCHITECTURES[QWEN3], rope_type=1)
_MIXTURE = dataclasses.replace(_QWEN3, architecture=ARCHITECTURES[QWEN3_MOE], experts=2, active_experts=2, moe_hidden_dim=32)


def warm() -> None:
    """The models that are asked for most come first."""
    for header in (_LLAMA, _QWEN3, _MIXTURE, dataclasses.replace(_LLAMA, quantization="F32")):
        _run(header)


def _run(header: DllamaHeader) -> None:
    net, (node,) = build(header, 1, context=header.context)
    executor = Executor(net, node)
    try:
        for segment in node.segments:
            for op in segment.ops:
                if op.code is OpCode.MATMUL and op.weight.type is FloatType.Q40:
                    executor.load(WeightMessage(op.name, op.index, 0, bytes(op.weight.n_bytes)))
        for rows, position in ((2, 0), (1, 2)):
            executor.forward(rows, position, lambda sync: None)
    finally:
        executor.close()
