"""
The header of a distributed-llama model (.m), and whether the file is as long as it says. Files are untrusted.

    magic i32 0x0A00ABCD · header bytes i32 (with these 8) · pairs of key i32, value i32 · tensors without padding

Tensors: embedding (F32) · of each layer q, k, v, wo, (gate F32, experts | w1, w2, w3), (q_norm, k_norm), two norms
· final norm · classifier
"""

from __future__ import annotations

import dataclasses
import os
import stat
import struct
from pathlib import Path

MAGIC, OLD_MAGICS = 0x0A00ABCD, (0xABCD00, 0xABCD01)
MOST_PAIRS = 1000
LLAMA, QWEN3, QWEN3_MOE = 0xABCD00, 0xABCD01, 0xABCD02
ARCHITECTURES = {LLAMA: "llama", QWEN3: "qwen3", QWEN3_MOE: "qwen3moe"}
WEIGHTS = {0: "F32", 1: "F16", 2: "Q40", 3: "Q80"}
_BLOCK = {"F32": (1, 4), "F16": (1, 2), "Q40": (32, 18), "Q80": (32, 34)}  # values, bytes
_LARGEST = 1 << 31
_TOKENIZERS = {struct.pack("<I", magic): "is a tokenizer of distributed-llama, not its model" for magic in (0x567124, 0x567123)}
_OTHERS = {b"GGUF": "is a GGUF file; model convert makes a distributed-llama model of one", **_TOKENIZERS}
KEYS = (
    *("version", "architecture", "dim", "hidden_dim", "layers", "heads", "kv_heads", "experts", "active_experts", "vocabulary", "context"),
    *("activation", "rope_theta", "weights", "rope_scaling", "rope_low_frequency", "rope_high_frequency", "rope_original_context"),
    *("rope_type", "head_dim", "norm_epsilon", "moe_hidden_dim"),
)
_DEFAULTS = {"activation": 1, "rope_theta": 10_000, "rope_scaling": 1, "norm_epsilon": 5}
_REQUIRED = ("architecture", "dim", "layers", "heads", "kv_heads", "vocabulary", "context", "weights")


class NotAModelError(ValueError):
    """Says why, in words that follow the file's name."""


@dataclasses.dataclass(frozen=True)
class DllamaHeader:
    """Sizes in bytes. `rope_type`: 0 interleaved pairs, 1 halves, 2 as 0 with scaling. `activation`: 0 gelu, 1 silu."""

    architecture: str
    version: int
    dim: int
    hidden_dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    experts: int
    active_experts: int
    vocabulary: int
    context: int
    activation: int
    rope_type: int
    rope_theta: float
    rope_scaling: float
    rope_low_frequency: float
    rope_high_frequency: float
    rope_original_context: int
    norm_epsilon: float
    moe_hidden_dim: int
    quantization: str  # of the weights
    header_bytes: int
    file_bytes: int

    @property
    def parameters(self) -> int:
        return self._parameters(max(self.experts, 1))

    @property
    def active_parameters(self) -> int:
        """Used for one token."""
        return self._parameters(max(min(self.active_experts, self.experts), 1))

    @property
    def bytes_per_layer(self) -> int:
        matrices = self._attention + max(self.experts, 1) * self._expert
        return _stored(self.quantization, matrices) + 4 * (self.experts * self.dim + self._norms)

    @property
    def bytes_per_expert(self) -> int:
        """Of one layer; 0 without experts."""
        return _stored(self.quantization, self._expert) if self.experts else 0

    @property
    def expected_bytes(self) -> int:
        table = self.vocabulary * self.dim
        outside = 4 * table + 4 * self.dim + _stored(self.quantization, table)
        return self.header_bytes + outside + self.layers * self.bytes_per_layer

    @property
    def _attention(self) -> int:
        return self.dim * self.head_dim * 2 * (self.heads + self.kv_heads)

    @property
    def _expert(self) -> int:
        width = self.moe_hidden_dim if self.architecture == ARCHITECTURES[QWEN3_MOE] else self.hidden_dim
        return 3 * self.dim * width

    @property
    def _norms(self) -> int:
        return 2 * self.dim + (0 if self.architecture == ARCHITECTURES[LLAMA] else 2 * self.head_dim)

    def _parameters(self, experts: int) -> int:
        layer = self._attention + experts * self._expert + self.experts * self.dim + self._norms
        return self.layers * layer + 2 * self.vocabulary * self.dim + self.dim


def read_header(path: Path) -> DllamaHeader:
    """Blocks on the disk, reads 8 KiB at most. OSError, NotAModelError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotAModelError("is not a regular file")
        header = _describe(*_values(os.read(descriptor, 8 + 8 * MOST_PAIRS)), found.st_size)
    finally:
        os.close(descriptor)
    difference = header.expected_bytes - header.file_bytes
    if difference > 0:
        raise NotAModelError(f"ends early, {difference} bytes are missing: is the download complete?")
    if difference < 0:
        raise NotAModelError(f"is {-difference} bytes longer than its header says")
    return header


def _values(raw: bytes) -> tuple[dict[str, int], int]:
    if not raw:
        raise NotAModelError("is empty: is the download complete?")
    if raw[:4] in _OTHERS:
        raise NotAModelError(_OTHERS[raw[:4]])
    if len(raw) < 8:
        raise NotAModelError("is not a distributed-llama model")
    magic, size = struct.unpack_from("<ii", raw)
    if magic in OLD_MAGICS:
        raise NotAModelError("has the old format of distributed-llama, which is no longer read: convert it again")
    if magic != MAGIC:
        raise NotAModelError("is not a distributed-llama model")
    if size < 8 or size % 8 or size > 8 + 8 * MOST_PAIRS:
        raise NotAModelError(f"claims a header of {size} bytes")
    if size > len(raw):
        raise NotAModelError("ends early: is the download complete?")
    values: dict[str, int] = {}
    for key, value in struct.iter_unpack("<ii", raw[8:size]):
        if not 0 <= key < len(KEYS):
            raise NotAModelError(f"has the header key {key}, which is unknown")
        values[KEYS[key]] = value
    return values, size


def _describe(values: dict[str, int], header_bytes: int, file_bytes: int) -> DllamaHeader:
    for key in _REQUIRED:
        if values.get(key) is None:
            raise NotAModelError(f"does not say its {key.replace('_', ' ')}")
    known = dict.fromkeys(KEYS, 0) | _DEFAULTS | values
    for key, value in known.items():
        if not 0 <= value < _LARGEST:
            raise NotAModelError(f"claims {key.replace('_', ' ')} = {value}")
    architecture, weights = ARCHITECTURES.get(known.pop("architecture")), WEIGHTS.get(known.pop("weights"))
    if architecture is None or weights is None:
        raise NotAModelError("is of an architecture or a weight type that distributed-llama does not know")
    epsilon = {5: 1e-5, 6: 1e-6}.get(known.pop("norm_epsilon"))
    if epsilon is None or known["heads"] == 0 or known["kv_heads"] == 0 or known["dim"] == 0:
        raise NotAModelError("claims a shape that no model has")
    known["head_dim"] = known["head_dim"] or known["dim"] // known["heads"]
    known["rope_type"] = known["rope_type"] if architecture == ARCHITECTURES[LLAMA] else 1
    return _header(known, architecture, weights, epsilon, header_bytes, file_bytes)


def _header(known: dict[str, int], architecture: str, weights: str, epsilon: float, header_bytes: int, file_bytes: int) -> DllamaHeader:
    names = {field.name for field in dataclasses.fields(DllamaHeader)}
    return DllamaHeader(
        **{key: value for key, value in known.items() if key in names},
        architecture=architecture,
        quantization=weights,
        norm_epsilon=epsilon,
        header_bytes=header_bytes,
        file_bytes=file_bytes,
    )


def _stored(kind: str, count: int) -> int:
    """The converter cuts rows into blocks of 32 values, and no row has a rest."""
    values, size = _BLOCK[kind]
    return count // values * size
