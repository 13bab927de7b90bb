from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np

Tensors = dict[str, tuple[tuple[int, ...], gguf.GGMLQuantizationType]]
F32, F16, Q4_0, Q4_K, Q6_K = (gguf.GGMLQuantizationType[name] for name in ("F32", "F16", "Q4_0", "Q4_K", "Q6_K"))


def write_model(
    path: Path,
    tensors: Tensors,
    architecture: str = "llama",
    layers: int = 0,
    file_type: int | None = None,
    numbers: dict[str, int] | None = None,
    texts: dict[str, str] | None = None,
) -> Path:
    """A GGUF file by the reference writer; tensors hold zeros. Shapes as NumPy has them, outermost first."""
    writer = gguf.GGUFWriter(path, architecture)
    if layers:
        writer.add_block_count(layers)
    if file_type is not None:
        writer.add_file_type(file_type)
    for key, number in (numbers or {}).items():
        writer.add_uint32(key, number)
    for key, text in (texts or {}).items():
        writer.add_string(key, text)
    for name, (shape, kind) in tensors.items():
        block, size = gguf.GGML_QUANT_SIZES[kind]
        stored = (*shape[:-1], shape[-1] // block * size)
        writer.add_tensor(name, np.zeros(stored, np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def small_model(path: Path, layers: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks: Tensors = {f"blk.{layer}.attn_q.weight": ((64, 64), Q4_0) for layer in range(layers)}
    return write_model(path, {"token_embd.weight": ((96, 64), F16), **blocks}, layers=layers, file_type=2)


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def raw_file(keys: list[bytes], tensors: list[bytes], *, version: int = 3, data: int = 0) -> bytes:
    """A GGUF file byte by byte, for what no honest writer writes."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys + tensors)
    return head + bytes(-len(head) % 32) + bytes(data)
