"""Whole models: this engine and, where DLLAMA names it, distributed-llama take turns; the best round of each counts."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from pathlib import Path

from scripts.dllama_bench.models import SMALL, write
from scripts.dllama_bench.taking import apart, resident, seconds
from synaptic.dllama.builder import LOGITS, X, build
from synaptic.dllama.executor import Executor
from synaptic.dllama.graph import WeightMessage
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.tokenizer import Tokenizer
from synaptic.dllama.tokenizer_file import read_vocabulary

BATCH = 32
PROMPT, ANSWER = "hello world the system and the user is it to of " * 8, 96  # some hundred tokens, and so many
TOKENIZER = Path(__file__).parents[2] / "config" / "demo" / "demo.t"


@dataclasses.dataclass(frozen=True)
class Speeds:
    """Tokens per second."""

    prompt: float
    answer: float


@dataclasses.dataclass(frozen=True)
class Measured:
    """`memory`: resident bytes of the weights for each of their bytes."""

    ours: Speeds
    theirs: Speeds | None
    memory: float


def programs(folder: Path, layers: int, threads: int, rounds: int) -> Measured:
    for name, count in (("warm", 1), ("model", layers)):
        apart(write, folder / f"{name}.m", SMALL, count)
    return apart(_measured, folder, threads, rounds)


def _measured(folder: Path, threads: int, rounds: int) -> Measured:
    warm = Ours(ModelFile(folder / "warm.m"), threads)
    warm.round()
    file = ModelFile(folder / "model.m")
    size = sum(tensor.bytes for tensor in file.tensors[1:])
    print(f"model of {file.header.parameters / 1e6:.0f} M parameters, {size / 1e6:.0f} MB, {threads} threads      prompt      answer")
    before = resident("RssAnon")
    ours, program = Ours(file, threads), os.environ.get("DLLAMA")
    memory = (resident("RssAnon") - before) / size
    mine, others = [], []
    for _ in range(rounds):
        mine.append(ours.round())
        others += [_original(program, file.path, threads)] if program else []
    measured = Measured(_best(mine), _best(others) if others else None, memory)
    for name, speeds in (("this engine", measured.ours), ("distributed-llama", measured.theirs)):
        if speeds:
            print(f"  {name:28} {speeds.prompt:8.1f} {speeds.answer:11.1f}   tokens/s")
    return measured


class Ours:
    def __init__(self, file: ModelFile, threads: int) -> None:
        net, (node,) = build(file.header, 1, context=file.header.context)
        self._executor = Executor(net, node, threads)
        print(f"  loaded in {seconds(lambda: self._load(file)):.2f} s")
        self._prompt = prompt_tokens()[:-1]  # the last one begins the answer
        self._table = file.raw(file.tensor("embedding")).view("<f4")

    def round(self) -> Speeds:
        count = len(self._prompt)
        prompt = seconds(lambda: [self._pass(self._prompt[start : start + BATCH], start) for start in range(0, count, BATCH)])
        return Speeds(count / prompt, ANSWER / seconds(self._answer))

    def _load(self, file: ModelFile) -> None:
        for tensor in file.tensors[1:]:
            if message := file.message(tensor, 0, 1):
                self._executor.load(WeightMessage(tensor.name, tensor.index, *message))

    def _answer(self) -> None:
        token = 1
        for position in range(len(self._prompt), len(self._prompt) + ANSWER):
            token = self._pass([token], position)

    def _pass(self, tokens: list[int], position: int) -> int:
        self._executor.pipes[X][0, : len(tokens)] = self._table[tokens]
        self._executor.forward(len(tokens), position, lambda sync: None)
        return int(self._executor.pipes[LOGITS][0, len(tokens) - 1].argmax())


def prompt_tokens() -> list[int]:
    return list(Tokenizer(read_vocabulary(TOKENIZER)).encode(PROMPT.encode()).tokens)


def _original(program: str, path: Path, threads: int) -> Speeds:
    words = ("--prompt", PROMPT, "--steps", str(len(prompt_tokens()) - 1 + ANSWER), "--temperature", "0", "--nthreads", str(threads))
    files = ("--model", str(path), "--tokenizer", str(TOKENIZER), "--buffer-float-type", "q80", "--net-turbo", "0")
    done = subprocess.run([program, "inference", *files, *words], capture_output=True, check=True)
    prompt, answer = re.findall(rb"tokens/s: ([\d.]+)", done.stdout)
    return Speeds(float(prompt), float(answer))


def _best(rounds: list[Speeds]) -> Speeds:
    return Speeds(max(each.prompt for each in rounds), max(each.answer for each in rounds))
