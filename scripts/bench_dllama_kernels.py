#!/usr/bin/env python3
"""
How fast models with 4-bit weights are computed here, beside NumPy and, if DLLAMA names the program, distributed-llama.

    [DLLAMA=…/dllama] python scripts/bench_dllama_kernels.py [--threads N] [--layers N] [--rounds N]

GMAC/s: billions of multiplications with a weight in a second, of a matrix that is in no cache. Tokens/s: a synthetic
model, 19 million weights a layer, its weights random; both programs take turns, the best round of each counts.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is loaded

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from synaptic.dllama.builder import LOGITS, X, build  # noqa: E402
from synaptic.dllama.executor import Executor  # noqa: E402
from synaptic.dllama.graph import WeightMessage  # noqa: E402
from synaptic.dllama.header import DllamaHeader  # noqa: E402
from synaptic.dllama.layout import Tensor  # noqa: E402
from synaptic.dllama.matmul_kernels import matmul_token, matmul_tokens, pack, prepare  # noqa: E402
from synaptic.dllama.model_file import ModelFile  # noqa: E402
from synaptic.dllama.model_writer import write_model  # noqa: E402
from synaptic.dllama.quants import Q40, PackedQ40, dequantize_q40, quantize_q80  # noqa: E402
from synaptic.dllama.simd_q40 import FLAVOUR  # noqa: E402
from synaptic.dllama.tokenizer import Tokenizer  # noqa: E402
from synaptic.dllama.tokenizer_file import read_vocabulary  # noqa: E402

ROWS, COLUMNS, MATRICES, BATCH = 3584, 1280, 16, 32
PROMPT, ANSWER = "hello world the system and the user is it to of " * 8, 96  # some hundred tokens, and so many
TOKENIZER = ROOT / "config" / "demo" / "demo.t"
VOCABULARY = 768  # of that tokenizer
Speeds = tuple[float, float]  # of the prompt, of the answer


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("threads", 1), ("layers", 16), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    kernels()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.m"
        write_model(path, header(options.layers), random_weights(np.random.default_rng(1)))
        print(f"\nmodel of {path.stat().st_size / 1e6:.0f} MB, {options.threads} threads      prompt      answer")
        model(path, options.threads, options.rounds)


def kernels() -> None:
    random = np.random.default_rng(0)
    blocks = [next(iter(q40(random, ROWS, COLUMNS))) for _ in range(MATRICES)]
    floats = [dequantize_q40(np.frombuffer(each, Q40).reshape(ROWS, -1)) for each in blocks]
    packed = [PackedQ40.empty(ROWS, COLUMNS) for _ in blocks]
    for matrix, data in zip(packed, blocks, strict=True):
        matrix.store(0, data, pack)
    x = random.standard_normal((BATCH, COLUMNS)).astype(np.float32)
    print(f"{FLAVOUR}: {ROWS} x {COLUMNS}, Q40 by Q80, one thread      GMAC/s")
    for rows in (1, BATCH):
        out = np.zeros((rows, ROWS), np.float32)
        ours = speed(rows, multiplication(packed, x[:rows], out))
        numpy = speed(rows, lambda rows=rows, out=out: [np.matmul(x[:rows], each.T, out=out) for each in floats])  # type: ignore[misc]
        print(f"  {rows:2} tokens: kernel {ours:6.1f}   numpy on floats {numpy:6.1f}   ratio {ours / numpy:5.2f}")


def multiplication(packed: list[PackedQ40], x: np.ndarray, out: np.ndarray) -> Callable[[], object]:
    rows, blocks = len(x), COLUMNS // 32
    quants = quantize_q80(x).view(np.uint8).reshape(-1)
    starts, dx, spare, y = (
        np.zeros(8 * rows * blocks, np.int32),
        np.zeros(rows * blocks, np.float32),
        np.zeros(64, np.float32),
        out.reshape(-1),
    )

    def multiply() -> None:
        for each in packed:
            prepare(quants, 0, 34 * blocks, starts, dx, 0, blocks, rows > 1, rows)
            w = each.weights, each.scales
            if rows == 1:
                matmul_token(*w, quants, 0, starts, dx, 0, blocks, y, 0, ROWS, spare, 0, 0, ROWS // 32)
            else:
                matmul_tokens(*w, quants, 0, 34 * blocks, starts, dx, blocks, y, 0, ROWS, ROWS, spare, rows, 0, ROWS // 32)

    return multiply


def speed(rows: int, multiply: Callable[[], object]) -> float:
    multiply()
    return rows * MATRICES * ROWS * COLUMNS / min(seconds(multiply) for _ in range(9)) / 1e9


def seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def model(path: Path, threads: int, rounds: int) -> None:
    ours, original = Ours(path, threads), os.environ.get("DLLAMA")
    best: dict[str, list[Speeds]] = {"this engine": [], "distributed-llama": []}
    for _ in range(rounds):
        best["this engine"].append(ours.round())
        if original:
            best["distributed-llama"].append(theirs(original, path, threads))
    found = {name: tuple(max(column) for column in zip(*speeds, strict=True)) for name, speeds in best.items() if speeds}
    for name, (prompt, answer) in found.items():
        print(f"  {name:28} {prompt:8.1f} {answer:11.1f}   tokens/s")
    if not original:
        sys.exit("set DLLAMA to distributed-llama's program to compare")
    ratios = [mine / other for mine, other in zip(*found.values(), strict=True)]
    print(f"  {'ratio':28} {ratios[0]:8.2f} {ratios[1]:11.2f}")


class Ours:
    def __init__(self, path: Path, threads: int) -> None:
        file = ModelFile(path)
        net, (node,) = build(file.header, 1, context=file.header.context)
        self._executor = Executor(net, node, threads)
        began = time.perf_counter()
        for tensor in file.tensors:
            if tensor.name != "embedding" and (message := file.message(tensor, 0, 1)):
                self._executor.load(WeightMessage(tensor.name, tensor.index, *message))
        print(f"  loaded in {time.perf_counter() - began:.2f} s")
        self._prompt = prompt_tokens()[:-1]  # the last one begins the answer
        self._table = file.raw(file.tensor("embedding")).view("<f4")

    def round(self) -> Speeds:
        count = len(self._prompt)
        prompt = seconds(lambda: [self._pass(self._prompt[start : start + BATCH], start) for start in range(0, count, BATCH)])
        return count / prompt, ANSWER / seconds(self._answer)

    def _answer(self) -> None:
        token = 1
        for position in range(len(self._prompt), len(self._prompt) + ANSWER):
            token = self._pass([token], position)

    def _pass(self, tokens: list[int], position: int) -> int:
        self._executor.pipes[X][0, : len(tokens)] = self._table[tokens]
        self._executor.forward(len(tokens), position, lambda sync: None)
        return int(self._executor.pipes[LOGITS][0, len(tokens) - 1].argmax())


def theirs(program: str, path: Path, threads: int) -> Speeds:
    words = ("--prompt", PROMPT, "--steps", str(len(prompt_tokens()) - 1 + ANSWER), "--temperature", "0", "--nthreads", str(threads))
    files = ("--model", str(path), "--tokenizer", str(TOKENIZER), "--buffer-float-type", "q80", "--net-turbo", "0")
    done = subprocess.run([program, "inference", *files, *words], capture_output=True, check=True)
    first, second = re.findall(rb"tokens/s: ([\d.]+)", done.stdout)
    return float(first), float(second)


def prompt_tokens() -> list[int]:
    return list(Tokenizer(read_vocabulary(TOKENIZER)).encode(PROMPT.encode()).tokens)


def header(layers: int) -> DllamaHeader:
    """The shape of small models: 20 heads of 64, 10 of them for keys and values."""
    return DllamaHeader(
        architecture="llama",
        version=0,
        dim=COLUMNS,
        hidden_dim=ROWS,
        layers=layers,
        heads=20,
        kv_heads=10,
        head_dim=64,
        experts=0,
        active_experts=0,
        vocabulary=VOCABULARY,
        context=1024,
        activation=1,
        rope_type=0,
        rope_theta=10_000,
        rope_scaling=1,
        rope_low_frequency=0,
        rope_high_frequency=0,
        rope_original_context=0,
        norm_epsilon=1e-5,
        moe_hidden_dim=0,
        quantization="Q40",
        header_bytes=0,
        file_bytes=0,
    )


def random_weights(random: np.random.Generator) -> Callable[[Tensor], Iterator[bytes]]:
    def content(tensor: Tensor) -> Iterator[bytes]:
        if tensor.kind == "Q40":
            yield from q40(random, tensor.rows, tensor.columns)
        else:
            mean = 0 if tensor.name == "final_norm" else "norm" in tensor.name
            spread = 0 if tensor.name == "final_norm" else 0.1  # all logits 0: always the first token, which both can print
            yield random.normal(mean, spread, tensor.rows * tensor.columns).astype("<f4").tobytes()

    return content


def q40(random: np.random.Generator, rows: int, columns: int) -> Iterator[bytes]:
    blocks = np.empty((rows, columns // 32), Q40)
    blocks["d"] = random.uniform(0.1, 0.3, blocks.shape) / columns**0.5
    blocks["qs"] = random.integers(0, 256, blocks["qs"].shape, np.uint8)
    yield blocks.tobytes()


if __name__ == "__main__":
    main()
