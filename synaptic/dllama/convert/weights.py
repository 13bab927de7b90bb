"""
The tensors of a .m file out of those of a GGUF file, in pieces of bounded size.

The rows of `attn_q` and `attn_k` need no change: for llama GGUF has them in pairs, as distributed-llama wants them, and
for Qwen3 both have halves. Q4_0 and Q40 are the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from synaptic.dllama.convert.ggml_blocks import KINDS, floats
from synaptic.dllama.convert.shape import ROPE_FACTORS
from synaptic.dllama.convert.source import CannotConvertError, Source, SourceTensor
from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.layout import Tensor, tensors
from synaptic.dllama.quants import quantize_q40

PIECE = 1024**2  # values at once: 4 MiB of floats, and about four times that in passing
_SAME = {("F32", "F32"), ("Q4_0", "Q40")}  # stored alike
_NAMES = {
    "embedding": "token_embd",
    "block_matmul_q": "attn_q",
    "block_matmul_k": "attn_k",
    "block_matmul_v": "attn_v",
    "block_matmul_wo": "attn_output",
    "block_moe_gate": "ffn_gate_inp",
    "block_matmul_w1": "ffn_gate",
    "block_matmul_w2": "ffn_down",
    "block_matmul_w3": "ffn_up",
    "block_norm_q": "attn_q_norm",
    "block_norm_k": "attn_k_norm",
    "block_norm_0": "attn_norm",
    "block_norm_1": "ffn_norm",
    "final_norm": "output_norm",
    "final_matmul_logits": "output",
}
_OUTSIDE = ("embedding", "final_norm", "final_matmul_logits")
_PER_TOKEN = ("embedding", "final_matmul_logits")


class Weights:
    """Callable with a tensor of the .m file: its content."""

    def __init__(
        self,
        source: Source,
        header: DllamaHeader,
        order: Sequence[int] | None = None,
        progress: Callable[[int], None] = lambda _: None,
        piece: int = PIECE,
    ) -> None:
        """
        `order`: which row each token has in the source, when they are others. `progress` gets the bytes that were read,
        and may raise. `piece`: values that are read at once. CannotConvertError.
        """
        self._source, self._order, self._progress, self._piece = source, order, progress, piece
        self._experts = header.experts > 0
        self._origins = {(each.name, each.index, each.expert): self._origin(each) for each in tensors(header)}
        used = {each.name for each in self._origins.values()} | {ROPE_FACTORS, "token_embd.weight"}
        if unused := sorted(set(source.tensors) - used):
            raise CannotConvertError(f"has a tensor that distributed-llama has no place for: {unused[0]}")

    @property
    def read_bytes(self) -> int:
        """How much of the source will be read."""
        return sum(origin.size // (origin.shape[0] if len(origin.shape) > 2 else 1) for origin in self._origins.values())

    @property
    def kinds(self) -> frozenset[str]:
        """Of the matrices that are computed with."""
        return frozenset(origin.kind for (name, *_), origin in self._origins.items() if "_matmul_" in name)

    def __call__(self, tensor: Tensor) -> Iterator[bytes]:
        origin = self._origins[tensor.name, tensor.index, tensor.expert]
        for first, last in self._stretches(tensor):
            yield from self._rows(tensor, origin, tensor.expert * tensor.rows + first, last - first)

    def _origin(self, tensor: Tensor) -> SourceTensor:
        name = _NAMES[tensor.name]
        is_of_experts = self._experts and tensor.name in ("block_matmul_w1", "block_matmul_w2", "block_matmul_w3")
        full = f"{name}.weight" if tensor.name in _OUTSIDE else f"blk.{tensor.index}.{name}{'_exps' if is_of_experts else ''}.weight"
        if full == "output.weight" and full not in self._source.tensors:
            full = "token_embd.weight"  # such models use their embedding twice
        origin = self._source.tensor(full)
        if origin.kind not in KINDS:
            raise CannotConvertError(f"has {origin.kind} weights, which cannot be converted: {full}")
        shape = origin.shape if len(origin.shape) > 1 else (1, *origin.shape)
        if shape[-2:] != (tensor.rows, tensor.columns) or len(shape) != (3 if is_of_experts else 2):
            raise CannotConvertError(f"has a tensor of the shape {origin.shape}, and not {(tensor.rows, tensor.columns)}: {full}")
        if is_of_experts and tensor.expert >= shape[0]:
            raise CannotConvertError(f"has {shape[0]} experts in {full}")
        return origin

    def _stretches(self, tensor: Tensor) -> Iterator[tuple[int, int]]:
        """Rows that follow one another in both files."""
        if self._order is None or tensor.name not in _PER_TOKEN:
            yield 0, tensor.rows
            return
        first = 0
        for place in range(1, tensor.rows + 1):
            if place == tensor.rows or self._order[place] != self._order[place - 1] + 1:
                yield self._order[first], self._order[place - 1] + 1
                first = place

    def _rows(self, tensor: Tensor, origin: SourceTensor, first: int, count: int) -> Iterator[bytes]:
        values, size = KINDS[origin.kind]
        row = tensor.columns // values * size
        at_once = max(self._piece // tensor.columns, 1)
        for start in range(first, first + count, at_once):
            raw = origin.read(start * row, min(at_once, first + count - start) * row)
            yield raw if (origin.kind, tensor.kind) in _SAME else _stored(raw, origin, tensor)
            self._progress(len(raw))


def _stored(raw: bytes, origin: SourceTensor, tensor: Tensor) -> bytes:
    values = floats(raw, origin.kind)
    if not np.isfinite(values).all():
        raise CannotConvertError(f"has weights that are no numbers: {origin.name}")
    return values.astype("<f4").tobytes() if tensor.kind == "F32" else quantize_q40(values).tobytes()
