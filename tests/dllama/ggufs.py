"""Small GGUF models with random weights and honest tokenizers, by the reference writer: what there is to convert."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
from faq import entries

from synaptic.dllama.convert.vocabulary import _bytes_of_characters

Floats = npt.NDArray[np.float32]
WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-zÀ-ÿ]+| ?[0-9]+| ?[^\sA-Za-zÀ-ÿ0-9]+|\s+(?!\S)|\s+")  # as GPT-2 cuts
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
DIM, HEADS, KV_HEADS, HEAD_DIM, LAYERS, HIDDEN, EXPERTS, CONTEXT = 128, 8, 4, 32, 2, 192, 4, 512
SPELT = {byte: character for character, byte in _bytes_of_characters().items()}


def corpus() -> list[str]:
    """What the demo's FAQ is about, in some other scripts too."""
    texts = [entry.answer for entry in entries()] + [wording for entry in entries() for wording in entry.questions]
    return [*texts, "Größe, naïve café, Übung", "Привет, мир", "東京 🦙 “quoted” – 5 €", "x = 12345 + 67;  # two  spaces\n\n\tdone"]


@functools.cache
def byte_bpe(merges: int = 400) -> tuple[list[str], list[str]]:
    """(tokens, merges) of a byte-level BPE that was learnt from the corpus."""
    words = Counter(word for text in corpus() for word in WORDS.findall(text))
    split = [([SPELT[byte] for byte in word.encode()], number) for word, number in words.items()]
    found: list[tuple[str, str]] = []
    while len(found) < merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for pieces, number in split:
            for pair in pairwise(pieces):
                pairs[pair] += number
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        found.append(best)
        for pieces, _ in split:
            _join(pieces, best)
    return [*SPELT.values(), *map("".join, found)], list(map(" ".join, found))


def write_gguf(
    path: Path, architecture: str, kind: str = "F32", *, layers: int = LAYERS, template: str = TEMPLATE, **change: float
) -> Path:
    """`kind`: of the matrices. `change`: other values of the architecture's keys."""
    writer = gguf.GGUFWriter(path, architecture)
    values: dict[str, float] = {"context_length": CONTEXT, "embedding_length": DIM, "block_count": layers, "feed_forward_length": HIDDEN}
    values |= {"attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS, "attention.key_length": HEAD_DIM}
    values |= {"attention.value_length": HEAD_DIM, "rope.freq_base": 10000.0, "attention.layer_norm_rms_epsilon": 1e-6}
    if architecture == "llama":
        values["rope.dimension_count"] = HEAD_DIM
    if architecture == "qwen3moe":
        values |= {"expert_count": EXPERTS, "expert_used_count": 2, "expert_feed_forward_length": HIDDEN}
    for key, value in (values | {key.replace("__", "."): value for key, value in change.items()}).items():
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(f"{architecture}.{key}", value)
    tokens, merges = byte_bpe()
    add_byte_bpe(writer, tokens, merges, template)
    add_weights(writer, architecture, len(tokens) + len(SPECIALS), kind, layers)
    return finish(writer, path)


def add_byte_bpe(writer: gguf.GGUFWriter, tokens: list[str], merges: list[str], template: str) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens + SPECIALS)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * len(SPECIALS))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(len(tokens))
    writer.add_eos_token_id(len(tokens) + 2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)


def add_weights(writer: gguf.GGUFWriter, architecture: str, vocabulary: int, kind: str, layers: int = LAYERS) -> None:
    chance = np.random.default_rng(11)
    for name, shape in _shapes(architecture, vocabulary, layers):
        values = np.ones(shape) + chance.normal(0, 0.1, shape) if len(shape) == 1 else chance.normal(0, 1, shape) / np.sqrt(shape[-1])
        plain = len(shape) == 1 or "gate_inp" in name
        stored = gguf.GGMLQuantizationType["F32" if plain else "F16" if name == "token_embd" and kind != "F32" else kind]
        raw = gguf.quants.quantize(values.astype(np.float32), stored)
        writer.add_tensor(f"{name}.weight", raw, raw_dtype=stored)


def finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _shapes(architecture: str, vocabulary: int, layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from (("token_embd", (vocabulary, DIM)), ("output_norm", (DIM,)), ("output", (vocabulary, DIM)))
    for layer in range(layers):
        at = f"blk.{layer}."
        yield from ((at + "attn_norm", (DIM,)), (at + "ffn_norm", (DIM,)))
        yield from ((at + "attn_q", (HEADS * HEAD_DIM, DIM)), (at + "attn_output", (DIM, HEADS * HEAD_DIM)))
        yield from ((at + "attn_k", (KV_HEADS * HEAD_DIM, DIM)), (at + "attn_v", (KV_HEADS * HEAD_DIM, DIM)))
        if architecture != "llama":
            yield from ((at + "attn_q_norm", (HEAD_DIM,)), (at + "attn_k_norm", (HEAD_DIM,)))
        ends = ("_exps", (EXPERTS,)) if architecture == "qwen3moe" else ("", ())
        if ends[0]:
            yield at + "ffn_gate_inp", (EXPERTS, DIM)
        for name, shape in (("ffn_gate", (HIDDEN, DIM)), ("ffn_down", (DIM, HIDDEN)), ("ffn_up", (HIDDEN, DIM))):
            yield at + name + ends[0], ends[1] + shape


def _join(pieces: list[str], pair: tuple[str, str]) -> None:
    at = 0
    while at < len(pieces) - 1:
        if (pieces[at], pieces[at + 1]) == pair:
            pieces[at : at + 2] = ["".join(pair)]
        at += 1
