"""A model with random weights of which some are larger than 10 MiB, and which llama.cpp loads: the demo's words, other sizes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gguf
import numpy as np

DEMO = Path(__file__).parents[2] / "config" / "demo" / "demo-q4_0.gguf"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Values of 4 bytes: `hidden` × `width` in each of three tensors, `heads` × `head` × `width` in each of two."""

    width: int = 1024
    hidden: int = 2816
    heads: int = 2
    head: int = 64
    is_tied: bool = False  # the output is the token embedding


def big_model(path: Path, sizes: Sizes = Sizes(), seed: int = 0) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    words = _words(writer)
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(sizes.width)
    writer.add_feed_forward_length(sizes.hidden)
    writer.add_head_count(sizes.heads)
    writer.add_head_count_kv(1)
    writer.add_key_length(sizes.head)
    writer.add_value_length(sizes.head)
    writer.add_rope_dimension_count(sizes.head)
    writer.add_layer_norm_rms_eps(1e-5)
    random = np.random.default_rng(seed)
    for name, shape in _shapes(sizes, words).items():
        writer.add_tensor(name, random.standard_normal(shape, np.float32) * np.float32(0.02))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _words(writer: gguf.GGUFWriter) -> int:
    """Take over the demo's tokenizer; the number of its tokens."""
    fields = gguf.GGUFReader(DEMO).fields
    for name, field in fields.items():
        if name.startswith("tokenizer.") and field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(name, field.contents())
        elif name.startswith("tokenizer."):
            writer.add_key_value(name, field.contents(), field.types[0])
    return len(fields["tokenizer.ggml.tokens"].contents())


def _shapes(sizes: Sizes, words: int) -> dict[str, tuple[int, ...]]:
    query = sizes.heads * sizes.head
    output = {} if sizes.is_tied else {"output.weight": (words, sizes.width)}
    return {
        "token_embd.weight": (words, sizes.width),
        "output_norm.weight": (sizes.width,),
        **output,
        "blk.0.attn_norm.weight": (sizes.width,),
        "blk.0.ffn_norm.weight": (sizes.width,),
        "blk.0.attn_q.weight": (query, sizes.width),
        "blk.0.attn_k.weight": (sizes.head, sizes.width),
        "blk.0.attn_v.weight": (sizes.head, sizes.width),
        "blk.0.attn_output.weight": (sizes.width, query),
        "blk.0.ffn_gate.weight": (sizes.hidden, sizes.width),
        "blk.0.ffn_up.weight": (sizes.hidden, sizes.width),
        "blk.0.ffn_down.weight": (sizes.width, sizes.hidden),
    }
