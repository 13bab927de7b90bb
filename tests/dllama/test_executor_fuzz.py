"""Graphs with wrong numbers anywhere are refused or run; what they compute is nonsense, but within their own memory."""

from __future__ import annotations

import dataclasses
import enum
import random
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from dllama.synthetic import write_model

from synaptic.dllama.builder import build
from synaptic.dllama.graph import AttentionConfig, GraphError, NetConfig, NodeConfig, RopeConfig
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.passes import Passes

T = TypeVar("T")
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 33, 63, 64, 127, 128, 256, 2**20, 2**31 - 1, 2**32 - 1)
FLOATS = (0.0, -1.0, 1e30, float("nan"), float("inf"))
AFFORDABLE = 5_000_000  # values: a graph may honestly be large


class Liar:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def graph(self, net: NetConfig, node: NodeConfig) -> tuple[NetConfig, NodeConfig]:
        """One to three operations or buffers, or now and then the pipes, with wrong numbers."""
        for _ in range(self.random.randint(1, 3)):
            which = self.random.random()
            if which < 0.1:
                net = self.lie(net, 0.03)
            elif which < 0.35:
                node = dataclasses.replace(node, buffers=self._one(node.buffers, 0.2))
            else:
                index = self.random.randrange(1, len(node.segments))
                segment = node.segments[index]
                segment = dataclasses.replace(segment, ops=self._one(segment.ops, self.random.choice([0.05, 0.1, 0.3])))
                node = dataclasses.replace(node, segments=(*node.segments[:index], segment, *node.segments[index + 1 :]))
        return net, node

    def lie(self, told: T, often: float) -> T:
        if isinstance(told, tuple):
            return tuple(self.lie(each, often) for each in told)  # type: ignore[return-value]
        if dataclasses.is_dataclass(told):
            names = [field.name for field in dataclasses.fields(told) if field.name != "name"]
            return dataclasses.replace(told, **{name: self.lie(getattr(told, name), often) for name in names})  # type: ignore[return-value]
        if self.random.random() > often or isinstance(told, bool):
            return told
        if isinstance(told, enum.IntEnum):
            return self.random.choice(list(type(told)))  # type: ignore[return-value]
        if isinstance(told, float):
            return self.random.choice(FLOATS)  # type: ignore[return-value]
        return self.random.choice([*NUMBERS, told + 1, told * 2, told // 2]) if isinstance(told, int) else told  # type: ignore[return-value]

    def _one(self, among: tuple[T, ...], often: float) -> tuple[T, ...]:
        index = self.random.randrange(len(among))
        return (*among[:index], self.lie(among[index], often), *among[index + 1 :])


def is_affordable(net: NetConfig, node: NodeConfig) -> bool:
    ops = [op for segment in node.segments for op in segment.ops]
    sizes = [each.size.length for each in (*net.pipes, *node.buffers)] + [op.weight.length for op in ops]
    sizes += [op.config.slice.seq_len * op.config.slice.head_dim for op in ops if isinstance(op.config, RopeConfig)]
    return sum(sizes) + sum(op.config.seq_len * op.config.n_heads0 for op in ops if isinstance(op.config, AttentionConfig)) < AFFORDABLE


@pytest.mark.parametrize("kind", ["llama", "llama-f32", "qwen3", "qwen3moe"])
def test_a_graph_with_wrong_numbers_harms_nobody(kind: str, tmp_path: Path) -> None:
    header = ModelFile(write_model(tmp_path / "m.m", kind, layers=2, dim=64, hidden=64, vocab=64, seq_len=32)).header
    liar, values, refused = Liar(1), np.random.default_rng(1), 0
    for number in range(250):
        net, nodes = build(header, 1 + number % 2, context=32, rows=4)
        net, node = liar.graph(net, nodes[-1])
        if not is_affordable(net, node):
            continue
        try:
            passes = Passes(net, node)
            for pipe in passes.pipes:
                pipe[:] = (
                    values.integers(0, 256, pipe.shape) if pipe.dtype == np.uint8 else values.choice([0, 1, -3.5, 1e30, np.nan], pipe.shape)
                )
            for position, count in ((0, 1), (1, 3), (28, 4)):
                passes.forward(count, position, lambda sync: None)
        except GraphError:
            refused += 1
    assert 50 < refused < 200
