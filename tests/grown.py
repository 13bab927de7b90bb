"""A model as large as one wishes: the demo's words, and random weights in Q8_0 that mean nothing."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

DEMO = Path(__file__).parents[1] / "config" / "demo" / "demo-q4_0.gguf"
HEADS, KV_HEADS = 16, 4
SIZES = {
    "llama.context_length": 4096,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": KV_HEADS,
}


def grown(path: Path, *, layers: int = 24, width: int = 1024, forward: int = 2816) -> Path:
    """Of some 270 million parameters, unless asked for others: a token takes some ten milliseconds on a small machine."""
    reader, head = gguf.GGUFReader(DEMO), width // HEADS
    own = SIZES | {
        "llama.embedding_length": width,
        "llama.block_count": layers,
        "llama.feed_forward_length": forward,
        "llama.attention.key_length": head,
        "llama.attention.value_length": head,
        "llama.rope.dimension_count": head,
    }
    writer = gguf.GGUFWriter(path, "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture" or name in own:
            continue
        kind = field.types[0]
        writer.add_key_value(name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for name, value in own.items():
        writer.add_uint32(name, value)
    words = reader.fields["tokenizer.ggml.tokens"].contents()
    chance = np.random.default_rng(7)
    for name, shape in _tensors(layers, width, forward, len(words)).items():
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", np.ones(shape, np.float32))
        else:
            values = chance.standard_normal(shape, np.float32) * 0.02
            weights = gguf.quants.quantize(_plain(values, words) if name == "output" else values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(f"{name}.weight", weights, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _plain(output: np.ndarray, words: list[str]) -> np.ndarray:
    """Only letters are ever the likeliest: so each token is a piece of text of its own."""
    letters = [place for place, word in enumerate(words) if word.isascii() and word.isalpha()]
    others = [place for place in range(len(words)) if place not in letters]
    output[others] = output[[letters[place % len(letters)] for place in others]] / 2
    return output


def _tensors(layers: int, width: int, forward: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
    kv = width // HEADS * KV_HEADS
    inside: dict[str, tuple[int, ...]] = {
        "attn_q": (width, width),
        "attn_k": (kv, width),
        "attn_v": (kv, width),
        "attn_output": (width, width),
    }
    inside |= {"ffn_gate": (forward, width), "ffn_up": (forward, width), "ffn_down": (width, forward)}
    inside |= {"attn_norm": (width,), "ffn_norm": (width,)}
    tensors: dict[str, tuple[int, ...]] = {"token_embd": (vocabulary, width), "output": (vocabulary, width), "output_norm": (width,)}
    return tensors | {f"blk.{layer}.{name}": shape for layer in range(layers) for name, shape in inside.items()}
