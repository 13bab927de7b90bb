"""What a .m file's header says of a model that is described with the keys of GGUF."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from synaptic.dllama.convert.source import CannotConvertError, Source
from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.model_writer import sized

ARCHITECTURES = ("llama", "qwen3", "qwen3moe")
ROPE_FACTORS = "rope_freqs.weight"
_LLAMA3_1 = 2  # the rope type with scaling
_NO_SCALING = (1, 0, 0, 0)


def header_of(source: Source, weights: str) -> DllamaHeader:
    """`weights`: Q40 or F32. CannotConvertError when distributed-llama has no place for something."""
    _check(source)
    scaling = _scaling(source)
    is_mixture = source.architecture == "qwen3moe"
    width = source.whole("{}.expert_feed_forward_length") if is_mixture else source.whole("{}.feed_forward_length")
    heads, dim = source.whole("{}.attention.head_count"), source.whole("{}.embedding_length")
    header = DllamaHeader(
        architecture=source.architecture,
        version=0,
        dim=dim,
        hidden_dim=source.whole("{}.feed_forward_length", width),
        layers=source.whole("{}.block_count"),
        heads=heads,
        kv_heads=source.whole("{}.attention.head_count_kv", heads),
        head_dim=source.whole("{}.attention.key_length", dim // max(heads, 1)),
        experts=source.whole("{}.expert_count") if is_mixture else 0,
        active_experts=source.whole("{}.expert_used_count") if is_mixture else 0,
        vocabulary=source.tensor("token_embd.weight").shape[0],
        context=source.whole("{}.context_length"),
        activation=1,
        rope_type=(_LLAMA3_1 if scaling != _NO_SCALING else 0) if source.architecture == "llama" else 1,
        rope_theta=source.whole("{}.rope.freq_base", 10_000),
        rope_scaling=scaling[0],
        rope_low_frequency=scaling[1],
        rope_high_frequency=scaling[2],
        rope_original_context=scaling[3],
        norm_epsilon=_epsilon(source),
        moe_hidden_dim=width if is_mixture else 0,
        quantization=weights,
        header_bytes=0,
        file_bytes=0,
    )
    return sized(header)


def _check(source: Source) -> None:
    if source.architecture not in ARCHITECTURES:
        kinds = ", ".join(ARCHITECTURES)
        raise CannotConvertError(f"is a model of the kind {source.architecture}, and distributed-llama runs {kinds} only")
    if source.architecture != "qwen3moe" and source.number("{}.expert_count", 0):
        raise CannotConvertError("is a mixture of experts of a kind that distributed-llama does not run")
    heads = source.whole("{}.attention.head_count")
    length = source.whole("{}.attention.key_length", source.whole("{}.embedding_length") // max(heads, 1))
    for key in ("{}.attention.value_length", "{}.rope.dimension_count"):
        if source.whole(key, length) != length:
            raise CannotConvertError(f"has {key.format(source.architecture)} other than its heads' {length}")


def _epsilon(source: Source) -> float:
    stored = source.number("{}.attention.layer_norm_rms_epsilon")
    for known in (1e-5, 1e-6):
        if math.isclose(stored, known, rel_tol=1e-6):
            return known
    raise CannotConvertError(f"has the norm epsilon {stored:g}, and distributed-llama knows 1e-05 and 1e-06")


def _scaling(source: Source) -> tuple[int, int, int, int]:
    """Factor, low and high frequency factor, original context: GGUF has only the factors that follow from them."""
    kind = source.values.get(f"{source.architecture}.rope.scaling.type")
    if kind not in (None, "", "none") and source.number("{}.rope.scaling.factor", 1) != 1:
        raise CannotConvertError("stretches its context in a way that distributed-llama does not know")
    if ROPE_FACTORS not in source.tensors:
        return _NO_SCALING
    tensor = source.tensor(ROPE_FACTORS)
    if tensor.kind != "F32" or tensor.size > 65536:
        raise CannotConvertError(f"has {ROPE_FACTORS} of an odd kind")
    factors = [each[0] for each in struct.iter_unpack("<f", tensor.read(0, tensor.size))]
    if all(factor == 1 for factor in factors):
        return _NO_SCALING
    for original in (2**power for power in range(13, 21)):
        for low, high in ((1, 4), (1, 8), (1, 2), (2, 4), (2, 8)):
            guess = round(max(factors)), low, high, original
            if _are_close(factors, _factors(guess, source.number("{}.rope.freq_base", 10_000), 2 * len(factors))):
                return guess
    raise CannotConvertError("stretches its context in a way that distributed-llama does not know")


def _factors(scaling: tuple[int, int, int, int], theta: float, head_dim: int) -> list[float]:
    """As Llama 3.1 defines them: 1 for short waves, the factor for long ones, between them in between."""
    factor, low, high, original = scaling
    found = []
    for index in range(0, head_dim, 2):
        wave = 2 * math.pi * theta ** (index / head_dim)
        smooth = min(max((original / wave - low) / (high - low), 0.0), 1.0)
        found.append(1 / ((1 - smooth) / factor + smooth))
    return found


def _are_close(some: Sequence[float], others: Sequence[float]) -> bool:
    return all(math.isclose(one, other, rel_tol=1e-3) for one, other in zip(some, others, strict=True))
