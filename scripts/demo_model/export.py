"""
Weights → the files the engines load:  python -m scripts.demo_model.export demo.pt OUT_FOLDER

GGUF for llama.cpp; `.m` and `.t` for distributed-llama. Weights that were snapped to Q4_0 values survive every one
of these formats unchanged.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np

from scripts.demo_model.shape import Array, Shape, Weights
from scripts.demo_model.tokenizer import CHAT_TEMPLATE, Kind, Tokenizer

QUANTIZATIONS = {name: gguf.GGMLQuantizationType[name] for name in ("F32", "F16", "Q8_0", "Q4_0")}
MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
NAME = "Distributed demo FAQ"
DESCRIPTION = "Tiny model that memorised a FAQ about distributed inference"

M_MAGIC, T_MAGIC = 0xA00ABCD, 0x567124  # distributed-llama: src/llm.cpp, src/tokenizer.cpp
M_MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_down", "ffn_up")
M_FLOATS = {"F32": 0, "Q4_0": 2}
LLAMA_ARCHITECTURE = 0xABCD00

_TOKEN_TYPES = {
    Kind.CHARACTER: gguf.TokenType.NORMAL,
    Kind.MERGE: gguf.TokenType.NORMAL,
    Kind.BYTE: gguf.TokenType.BYTE,
    Kind.SPECIAL: gguf.TokenType.CONTROL,
}


def main() -> None:
    from scripts.demo_model.model import load  # PyTorch is wanted here only

    model, folder, tokenizer = load(Path(sys.argv[1])), Path(sys.argv[2]), Tokenizer.load()
    folder.mkdir(parents=True, exist_ok=True)
    for quantization in QUANTIZATIONS:
        write_gguf(folder / f"demo-{quantization.lower()}.gguf", model.shape, model.weights(), tokenizer, quantization)
    write_m(folder / "demo-f32.m", model.shape, model.weights(), "F32")
    write_m(folder / "demo-q40.m", model.shape, model.weights(), "Q4_0")
    write_t(folder / "demo.t", tokenizer)
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:9}  {path.name}")


def write_gguf(path: Path, shape: Shape, weights: Weights, tokenizer: Tokenizer, quantization: str) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, shape, quantization)
    _add_tokenizer(writer, tokenizer)
    kind = QUANTIZATIONS[quantization]
    _add(writer, "token_embd", weights, QUANTIZATIONS["F32" if quantization == "F32" else "F16"])
    for layer in range(shape.layers):
        for norm in ("attn_norm", "ffn_norm"):
            _add(writer, f"blk.{layer}.{norm}", weights, QUANTIZATIONS["F32"])
        for matrix in MATRICES:
            _add(writer, f"blk.{layer}.{matrix}", weights, kind)
    _add(writer, "output_norm", weights, QUANTIZATIONS["F32"])
    _add(writer, "output", weights, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_m(path: Path, shape: Shape, weights: Weights, quantization: str) -> None:
    """magic i32 · header length i32 · (key i32, value i32)… · embedding · layers · norm · output"""
    header = {0: 0, 1: LLAMA_ARCHITECTURE, 2: shape.width, 3: shape.hidden, 4: shape.layers, 5: shape.heads, 6: shape.kv_heads}
    header |= {7: 0, 8: 0, 9: shape.vocabulary, 10: shape.context, 11: 1, 12: int(shape.rope_base), 13: M_FLOATS[quantization]}
    header |= {19: shape.head_length, 20: 5}  # 20: the exponent of epsilon
    matrix = _f32_bytes if quantization == "F32" else q4_0_bytes
    with path.open("wb") as file:
        file.write(_header(M_MAGIC, list(header.items())))
        file.write(_f32_bytes(weights["token_embd.weight"]))
        for layer in range(shape.layers):
            for name in M_MATRICES:
                file.write(matrix(weights[f"blk.{layer}.{name}.weight"]))
            for name in ("attn_norm", "ffn_norm"):
                file.write(_f32_bytes(weights[f"blk.{layer}.{name}.weight"]))
        file.write(_f32_bytes(weights["output_norm.weight"]))
        file.write(matrix(weights["output.weight"]))


def write_t(path: Path, tokenizer: Tokenizer) -> None:
    """magic i32 · header length i32 · (key i32, value i32)… · template · end tokens i32… · (score f32, length u32, bytes)…"""
    template, ends = CHAT_TEMPLATE.encode(), (tokenizer.end_of_turn, tokenizer.end)
    longest = max(len(piece.text) for piece in tokenizer.pieces)
    header = [(3, tokenizer.begin), (0, 1), (1, len(tokenizer.pieces)), (2, longest), (7, len(template)), (9, len(ends)), (10, 1)]
    with path.open("wb") as file:
        file.write(_header(T_MAGIC, header) + template + struct.pack("<2i", *ends))
        for piece in tokenizer.pieces:
            file.write(struct.pack("<fI", piece.score, len(piece.text)) + piece.text)


def q4_0_bytes(weight: Array) -> bytes:
    """Blocks of 32: scale f16, then 16 bytes that each hold value i (low) and value i + 16 (high)."""
    blocks = weight.reshape(-1, 32).astype(np.float32)
    largest = blocks[np.arange(len(blocks)), np.abs(blocks).argmax(1)]
    scale = largest / -8.0
    with np.errstate(divide="ignore"):
        inverse = np.where(scale != 0, 1.0 / scale, 0).astype(np.float32)
    levels = np.clip(np.floor(blocks * inverse[:, None] + 8.5), 0, 15).astype(np.uint8)
    stored = np.empty((len(blocks), 18), np.uint8)
    stored[:, :2] = scale.astype(np.float16).view(np.uint8).reshape(-1, 2)
    stored[:, 2:] = levels[:, :16] | (levels[:, 16:] << 4)
    return stored.tobytes()


def _describe(writer: gguf.GGUFWriter, shape: Shape, quantization: str) -> None:
    """The order of the keys is the order in the file."""
    writer.add_type("model")
    writer.add_name(NAME)
    writer.add_description(DESCRIPTION)
    writer.add_file_type({"F32": 0, "F16": 1, "Q8_0": 7, "Q4_0": 2}[quantization])
    writer.add_quantization_version(2)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_length)
    writer.add_value_length(shape.head_length)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_dimension_count(shape.head_length)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    types = [_TOKEN_TYPES[piece.kind] for piece in tokenizer.pieces]
    types[tokenizer.unknown] = gguf.TokenType.UNKNOWN
    writer.add_token_list([spm_text(piece.text, piece.kind) for piece in tokenizer.pieces])
    writer.add_token_scores([piece.score for piece in tokenizer.pieces])
    writer.add_token_types(types)
    writer.add_bos_token_id(tokenizer.begin)
    writer.add_eos_token_id(tokenizer.end)
    writer.add_eot_token_id(tokenizer.end_of_turn)
    writer.add_unk_token_id(tokenizer.unknown)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def spm_text(text: bytes, kind: Kind) -> bytes:
    """As SentencePiece writes a piece: bytes by number, spaces as U+2581."""
    return b"<0x%02X>" % text[0] if kind is Kind.BYTE else text.replace(b" ", "\u2581".encode())


def _add(writer: gguf.GGUFWriter, name: str, weights: Mapping[str, Array], kind: gguf.GGMLQuantizationType) -> None:
    weight = weights[f"{name}.weight"]
    stored = weight if kind is QUANTIZATIONS["F32"] else gguf.quants.quantize(weight, kind)
    writer.add_tensor(f"{name}.weight", stored, raw_dtype=kind)


def _header(magic: int, pairs: list[tuple[int, int]]) -> bytes:
    return struct.pack("<ii", magic, 8 + 8 * len(pairs)) + b"".join(struct.pack("<ii", *pair) for pair in pairs)


def _f32_bytes(weight: Array) -> bytes:
    return weight.astype("<f4").tobytes()


if __name__ == "__main__":
    main()
