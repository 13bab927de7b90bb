"""What the keys and tensors of a GGUF file say about the model in it."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable

from synaptic.models.gguf_types import FILE_TYPES, GUESSED
from synaptic.terminal import one_line

MOST_LAYERS = 10_000
_LAYER = re.compile(r"blk\.([0-9]{1,9})\.")

Value = int | float | str | tuple[int, ...] | None  # None: a value that was skipped
Keys = dict[str, Value]


@dataclasses.dataclass(frozen=True)
class Header:
    """Sizes in bytes. A later file of a split model has tensors, but none of the model's keys."""

    architecture: str
    kind: str  # general.type: "model", "adapter", "mmproj" …
    name: str
    parameters: int
    expert_parameters: int  # those of `parameters` that are split over experts
    layers: int
    heads: int
    kv_heads: int
    key_length: int
    value_length: int
    embedding_length: int
    context: int  # tokens the model was trained for
    experts: int
    experts_used: int
    quantization: str
    file_bytes: int
    tensor_bytes: int
    bytes_per_layer: tuple[int, ...]
    output_bytes: int
    embedding_bytes: int
    tokenizer: str
    has_chat_template: bool
    tensors: int
    split_count: int  # files of this model; 0 and 1 both mean this one
    split_number: int  # from 0

    @property
    def active_parameters(self) -> int:
        """Used for one token: a mixture of experts asks only some of them."""
        if not self.experts:
            return self.parameters
        return self.parameters - self.expert_parameters + self.expert_parameters * min(self.experts_used, self.experts) // self.experts


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    kind: str
    elements: int
    bytes: int
    offset: int  # from the start of the tensor data
    shape: tuple[int, ...] = ()  # outermost first, as NumPy has it


def describe(keys: Keys, tensors: list[Tensor], file_bytes: int) -> Header:
    """ValueError: `claims …`, when a key cannot be true."""
    facts = _Facts(keys)
    layers = facts.own("block_count", most=MOST_LAYERS)
    heads, embedding = facts.own("attention.head_count"), facts.own("embedding_length")
    head_length = embedding // heads if heads else 0
    return Header(
        architecture=facts.architecture,
        kind=facts.text("general.type") or "model",
        name=facts.text("general.name"),
        parameters=sum(tensor.elements for tensor in tensors),
        expert_parameters=sum(tensor.elements for tensor in tensors if "_exps." in tensor.name),
        layers=layers,
        heads=heads,
        kv_heads=facts.own("attention.head_count_kv", heads),
        key_length=facts.own("attention.key_length", head_length),
        value_length=facts.own("attention.value_length", head_length),
        embedding_length=embedding,
        context=facts.own("context_length"),
        experts=facts.own("expert_count"),
        experts_used=facts.own("expert_used_count"),
        quantization=_quantization(facts, tensors),
        file_bytes=file_bytes,
        tensor_bytes=sum(tensor.bytes for tensor in tensors),
        bytes_per_layer=_bytes_per_layer(tensors, layers),
        output_bytes=_bytes_of(tensors, lambda name: name.startswith("output")),
        embedding_bytes=_bytes_of(tensors, lambda name: name.startswith("token_embd")),
        tokenizer=facts.text("tokenizer.ggml.model"),
        has_chat_template=facts.has("tokenizer.chat_template"),
        tensors=len(tensors),
        split_count=facts.count("split.count", most=65535),
        split_number=facts.count("split.no", most=65535),
    )


class _Facts:
    """Typed answers from the keys; the model's own keys begin with its architecture."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self.architecture = self.text("general.architecture")

    def text(self, key: str) -> str:
        value = self._keys.get(key)
        return one_line(value) if isinstance(value, str) else ""

    def count(self, key: str, default: int = 0, most: int = 2**32) -> int:
        """A number, or the largest of one per layer."""
        value = self._keys.get(key, default)
        if isinstance(value, tuple):
            value = max(value, default=default)
        if not isinstance(value, int) or not 0 <= value <= most:
            raise ValueError(f"claims {one_line(key, 60)} = {one_line(str(value), 40)}")
        return int(value)

    def own(self, key: str, default: int = 0, most: int = 2**32) -> int:
        return self.count(f"{self.architecture}.{key}", default, most)

    def has(self, key: str) -> bool:
        return key in self._keys


def _quantization(facts: _Facts, tensors: list[Tensor]) -> str:
    """What the file says of itself, else the type of most of its values."""
    if facts.has("general.file_type") and (name := FILE_TYPES.get(facts.count("general.file_type") & ~GUESSED)):
        return name
    values: Counter[str] = Counter()
    for tensor in tensors:
        values[tensor.kind] += tensor.elements
    return max(values, key=lambda kind: values[kind], default="")


def _bytes_per_layer(tensors: list[Tensor], layers: int) -> tuple[int, ...]:
    sizes: Counter[int] = Counter()
    for tensor in tensors:
        if (found := _LAYER.match(tensor.name)) and int(found[1]) < MOST_LAYERS:
            sizes[int(found[1])] += tensor.bytes
    return tuple(sizes[layer] for layer in range(max(layers, max(sizes, default=-1) + 1)))


def _bytes_of(tensors: list[Tensor], chosen: Callable[[str], bool]) -> int:
    return sum(tensor.bytes for tensor in tensors if chosen(tensor.name))
