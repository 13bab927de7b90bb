"""What a real llama-server says of a model's header; and what its words mean."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from synaptic.models.gguf import read_header, without_weights
from synaptic.process.trial import Stage, Verdict, try_to_load, verdict

pytestmark = pytest.mark.anyio
DEMO = Path(__file__).parents[2] / "config" / "demo" / "demo-q4_0.gguf"
TOKENIZER = b"tokenizer.ggml.model" + struct.pack("<IQ", 8, 5)  # a string of five


async def test_a_model_that_it_knows_comes_as_far_as_its_weights(llama_server: Path) -> None:
    assert (await try_to_load(llama_server, without_weights(DEMO), {})).stuck is Stage.WEIGHTS


@pytest.mark.parametrize(
    ("old", "new", "stuck", "words"),
    [
        (b"llama", b"gptos", Stage.ARCHITECTURE, "unknown model architecture: 'gptos'"),
        (b"llama.block_count", b"llama.block_c0unt", Stage.KEYS, "llama.block_count"),
        (TOKENIZER + b"llama", TOKENIZER + b"nobox", Stage.TOKENIZER, "nobox"),
    ],
)
async def test_where_it_gets_stuck(llama_server: Path, old: bytes, new: bytes, stuck: Stage, words: str) -> None:
    header = without_weights(DEMO)
    at = header.index(old)
    found = await try_to_load(llama_server, header[:at] + new + header[at + len(old) :], {})
    assert found.stuck is stuck
    assert words in found.words


async def test_a_program_that_says_nothing_or_never_ends_decides_nothing(tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_text(f"#!{sys.executable}\nprint('hello', flush=True)\nwhile True:\n    pass\n")
    program.chmod(0o755)
    assert await try_to_load(program, b"", {}, within=0.5) == Verdict(Stage.NOWHERE, "it said nothing about the model")
    assert (await try_to_load(tmp_path / "gone", b"", {})).words == "error: no such file or directory"


@pytest.mark.parametrize(
    ("line", "stuck"),
    [
        ("llama_model_load: error loading model: check_tensor_dims: tensor 'token_embd.weight' not found", Stage.WEIGHTS),
        ("llama_model_load: error loading model: missing tensor 'token_embd.weight'", Stage.WEIGHTS),
        ("error loading model: error loading model vocabulary: unknown pre-tokenizer type: 'new'", Stage.TOKENIZER),
        ("error: invalid argument: --port", Stage.NOWHERE),
    ],
)
async def test_words_of_several_versions(line: str, stuck: Stage) -> None:
    assert verdict(f"build: 1\n{line}\nexiting\n").stuck is stuck


async def test_the_header_alone_is_a_sound_file_without_tensors(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(without_weights(DEMO))
    bare, whole = read_header(tmp_path / "m.gguf"), read_header(DEMO)
    assert (bare.tensors, bare.architecture, bare.layers, bare.tokenizer) == (0, whole.architecture, whole.layers, whole.tokenizer)
