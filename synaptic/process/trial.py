"""
Whether a llama-server can load a model, asked of itself: it is given the model's header without weights.

It reads the keys in this order, and complains about the first that it cannot use. One that comes as far as the weights,
which are not there, knows the model. Takes milliseconds, whatever the size of the model, and no memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from synaptic.errors import os_reason
from synaptic.process.variables import inherited
from synaptic.terminal import one_line

WITHIN = 20.0  # seconds; a GPU may have to wake up
MOST_OUTPUT = 1024**2


class Stage(enum.Enum):
    """How far it came; each includes those before."""

    NOWHERE = "nowhere"  # it said nothing that we know
    ARCHITECTURE = "architecture"
    KEYS = "keys"
    TOKENIZER = "tokenizer"
    WEIGHTS = "weights"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`stuck` is the stage that failed; WEIGHTS: none did."""

    stuck: Stage
    words: str = ""  # its own, about that


_SIGNS = (
    (Stage.ARCHITECTURE, re.compile(r"unknown model architecture: '[^'\n]*'")),
    (Stage.KEYS, re.compile(r"(?<=error loading model hyperparameters: )[^\n]*")),
    (Stage.TOKENIZER, re.compile(r"(?<=error loading model vocabulary: )[^\n]*")),
    (Stage.WEIGHTS, re.compile(r"tensor '[^'\n]*' not found|missing tensor '[^'\n]*'|wrong number of tensors")),
)


async def try_to_load(program: Path, header: bytes, variables: Mapping[str, str], *, within: float = WITHIN) -> Verdict:
    """`header` as `without_weights` gives it. Never raises for what the program does."""
    with tempfile.TemporaryDirectory(prefix="synapticllamas-") as folder:
        model = Path(folder) / "header.gguf"
        await asyncio.to_thread(model.write_bytes, header)
        output = await _run([str(program), "-m", str(model), "-c", "64", "--host", "127.0.0.1", "--port", "0"], variables, within)
    return verdict(output)


def verdict(output: str) -> Verdict:
    """What a llama-server's words mean."""
    for stage, sign in _SIGNS:
        if found := sign.search(output):
            return Verdict(stage, one_line(found[0], 200))
    lines = [line for line in output.splitlines() if "error" in line.lower()]
    return Verdict(Stage.NOWHERE, one_line(lines[0], 200) if lines else "it said nothing about the model")


async def _run(words: list[str], variables: Mapping[str, str], within: float) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            env=inherited(variables),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        return f"error: {os_reason(error)}"
    assert process.stdout
    output = bytearray()
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while len(output) < MOST_OUTPUT and (piece := await process.stdout.read(65536)):
                    output += piece
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return output.decode(errors="replace")
