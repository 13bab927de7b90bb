"""What of a model must be held and read, as its header says. Pure; sizes in bytes."""

from __future__ import annotations

import dataclasses

from synaptic.models.gguf_header import Header

KV_TYPES = {"f16": 2.0, "q8_0": 34 / 32}  # bytes of one element of the KV cache
CELLS = 256  # llama.cpp rounds the tokens of a slot up to this
UBATCH = 512  # tokens of a prompt that llama.cpp computes at once


@dataclasses.dataclass(frozen=True)
class Shape:
    """
    `output_bytes` counts the embedding too where the model uses it as its output: llama.cpp copies it to the last device.
    The embedding itself stays with the coordinator. `active_share`: of a layer's bytes, those read for one token.
    """

    layer_bytes: tuple[int, ...]
    output_bytes: int
    embedding_bytes: int
    kv_elements: int  # of one token in one layer
    embedding_length: int
    feed_forward: int  # elements, of the experts that one token asks
    vocabulary: int
    parameters: int
    active_parameters: int
    quantization: str
    active_share: float = 1.0

    @classmethod
    def of(cls, header: Header) -> Shape:
        """The vocabulary and the feed-forward length are worked out from sizes: right within what quantization mixes."""
        d = max(header.embedding_length, 1)
        per_byte = header.parameters / max(header.tensor_bytes, 1)
        is_tied = header.output_bytes <= 64 * d  # a norm and a bias at most
        kv = header.kv_heads * (header.key_length + header.value_length)
        layer = max(header.bytes_per_layer, default=0) * per_byte * _active_share(header)
        return cls(
            layer_bytes=header.bytes_per_layer,
            output_bytes=header.output_bytes + (header.embedding_bytes if is_tied else 0),
            embedding_bytes=header.embedding_bytes,
            kv_elements=kv,
            embedding_length=header.embedding_length,
            feed_forward=max(0, round((layer - 2 * d * header.heads * header.key_length - d * kv) / (3 * d))),
            vocabulary=round(header.embedding_bytes * per_byte / d),
            parameters=header.parameters,
            active_parameters=header.active_parameters,
            quantization=header.quantization,
            active_share=_active_share(header),
        )

    @property
    def layers(self) -> int:
        return len(self.layer_bytes)

    @property
    def bytes(self) -> int:
        """Of all that devices hold."""
        return sum(self.layer_bytes) + self.output_bytes

    def weights(self, first: int, last: int) -> int:
        """Of layers first … last - 1, and of the output when the model's last layer is among them."""
        return sum(self.layer_bytes[first:last]) + (self.output_bytes if first < last == self.layers else 0)

    def read_per_token(self, first: int, last: int) -> float:
        """Of those weights, what one token makes a device read."""
        return sum(self.layer_bytes[first:last]) * self.active_share + (self.output_bytes if first < last == self.layers else 0)

    def kv_bytes(self, layers: int, context: int, slots: int = 1, kv_type: str = "f16") -> int:
        """Never too little: models that look back only so far in some layers need less."""
        return round(layers * self.kv_elements * cells(context) * slots * KV_TYPES[kv_type])

    def compute_bytes(self, context: int) -> int:
        """
        Scratch memory of a device that holds layers, for one batch of a prompt.

        Fitted to what llama-server b11434 logs ("compute buffer size") for models of 512 to 2048 elements and contexts
        of 2048 to 32768 tokens, within 5 %: four vectors of floats as long as the embedding and the feed-forward for
        each token of the batch, and the attention mask twice. A single layer needs less; other builds and accelerators
        may need twice that: the reserve has to cover it.
        """
        vectors = 16 * (self.embedding_length + self.feed_forward) * UBATCH
        return round(1.02 * vectors) + 8 * UBATCH * cells(context)


def cells(context: int) -> int:
    return -(-context // CELLS) * CELLS


def _active_share(header: Header) -> float:
    """Weights of experts are most of a layer; only some of the experts are asked."""
    if not header.experts or not header.parameters:
        return 1.0
    inside = header.parameters * sum(header.bytes_per_layer) / max(header.tensor_bytes, 1)
    idle = header.expert_parameters * (1 - min(header.experts_used, header.experts) / header.experts)
    return min(1.0, max(0.01, 1 - idle / max(inside, 1)))
