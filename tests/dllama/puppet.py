"""
A model that says what it is told: each token is followed by a chosen one, or by chosen odds, whatever came before.

Its layer adds nothing; the embedding is one hot, so the classifier's columns are the logits. With it, the real program
shows how it encodes, samples and decodes.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from dllama.dllamas import head

from synaptic.dllama.tokenizer_file import Vocabulary, packed

Floats = npt.NDArray[np.float32]
HEAD = 8


def program() -> Path:
    if not (named := os.environ.get("DLLAMA")):
        pytest.skip("DLLAMA names no program: build distributed-llama with `make dllama` and set it to the file")
    return Path(named)


def followed_by(chosen: Mapping[int, int], vocabulary: int) -> Floats:
    """(vocabulary, vocabulary): the logits, one column per token."""
    logits = np.zeros((vocabulary, vocabulary), np.float32)
    for token, successor in chosen.items():
        logits[successor, token] = 10
    return logits


def logits_of(classifier: Floats) -> Floats:
    """What the program makes of a classifier: its columns times the one normalised value."""
    mean = np.float32(1) / np.float32(len(classifier)) + np.float32(1e-5)
    return np.asarray(classifier * (np.float32(1) / np.sqrt(mean)), np.float32)


def write_puppet(folder: Path, vocabulary: Vocabulary, classifier: Floats, context: int = 4096) -> tuple[Path, Path]:
    """As many tokens as the classifier has rows, a power of two; missing ones are made up."""
    size = len(classifier)
    missing = range(size - len(vocabulary.tokens))
    tokens = (*vocabulary.tokens, *(b"<missing %d>" % number for number in missing))
    scores = (*vocabulary.scores, *(0.0 for _ in missing))
    padded = Vocabulary(tokens, scores, vocabulary.begin, vocabulary.ends, vocabulary.add_begin, vocabulary.template)
    shape = {"version": 0, "arch": 0xABCD00, "dim": size, "hidden": HEAD, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": HEAD}
    nothing = np.zeros(4 * HEAD * size + 3 * HEAD * size, np.float32)
    ones = np.ones(3 * size, np.float32)
    with (folder / "puppet.m").open("wb") as file:
        file.write(head(**shape, vocab=size, seq_len=context, weights=0))
        for each in (np.eye(size, dtype=np.float32), nothing, ones, classifier.astype(np.float32)):
            file.write(each.tobytes())
    (folder / "puppet.t").write_bytes(packed(padded))
    return folder / "puppet.m", folder / "puppet.t"


def run(mode: str, files: Sequence[Path], prompt: bytes, *words: str) -> bytes:
    command = [str(program()), mode, "--model", str(files[0]), "--tokenizer", str(files[1]), "--buffer-float-type", "f32"]
    command += ["--nthreads", "1", "--net-turbo", "0", *words, "--prompt"]
    done = subprocess.run([os.fsencode(each) for each in command] + [prompt], capture_output=True, timeout=50, check=False)
    assert done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr[-500:])
    return done.stdout


def said(output: bytes) -> list[bytes]:
    """The pieces of an `inference`, `~` where there is none."""
    parts = re.split(rb"\xf0\x9f\x94\xb6 Pred[^|]*\| Sent[^|]*\| ", output)[1:]
    return [*(part.removesuffix(b"\n") for part in parts[:-1]), parts[-1].rpartition(b"\n\nEvaluation\n")[0].removesuffix(b"\n")]


def told_odds(size: int) -> Floats:
    """A classifier after which each token has odds of its own, whatever came before: perplexity then tells the tokens."""
    odds = np.linspace(1, 100, size)
    column = np.log(odds / odds.sum()) / float(logits_of(np.ones((size, 1), np.float32))[0, 0])
    return np.repeat(column.astype(np.float32)[:, None], size, axis=1)


def tokens_told(output: bytes, size: int) -> list[int]:
    """Of a `perplexity` with those odds; the first token is not told."""
    odds = np.linspace(1, 100, size)
    odds /= odds.sum()
    return [int(np.abs(odds - float(each)).argmin()) for each in re.findall(rb"prob=([0-9.]+)", output)]
