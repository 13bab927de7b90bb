"""What operations are built from and share: memory, kernels, threads, positions, and room for what they work out on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from synaptic.dllama.angles import Angles
from synaptic.dllama.compute import Compute
from synaptic.dllama.crew import Crew
from synaptic.dllama.graph import Config, GraphError, OpConfig, RopeConfig
from synaptic.dllama.memory import Memory, Operand
from synaptic.dllama.quants import BLOCK, Floats
from synaptic.dllama.weights import FloatWeight, Q40Weight, Weight, float_weight, q40_weight

Step = Callable[[int], object]
"""Computes the first so many rows."""
C = TypeVar("C", bound=Config)
Place = Callable[[OpConfig], Hashable]
"""Where the weight of an operation is kept: operations of the same place share it, one after the other."""


def own_place(op: OpConfig) -> Hashable:
    return id(op)


@dataclasses.dataclass(frozen=True)
class Built:
    step: Step
    weight: Weight | None = None


@dataclasses.dataclass(frozen=True)
class Scratch:
    """For the products with Q40, one at a time: see matmul_twins."""

    starts: npt.NDArray[np.int32]
    dx: Floats
    spare: Floats

    @classmethod
    def of(cls, blocks: int) -> Scratch:
        return cls(np.zeros(8 * blocks, np.int32), np.zeros(blocks, np.float32), np.zeros(64, np.float32))


@dataclasses.dataclass
class Setting:
    """`horizon`: all positions must lie before it. `angles`: tables that operations of the same configuration share."""

    memory: Memory
    compute: Compute
    crew: Crew
    positions: npt.NDArray[np.int64]
    horizon: int = 1 << 32
    angles: dict[RopeConfig, Angles] = dataclasses.field(default_factory=dict)
    scores: Floats = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))
    scratch: Scratch = dataclasses.field(default_factory=lambda: Scratch.of(0))
    place: Place = own_place
    placed: dict[Hashable, Weight] = dataclasses.field(default_factory=dict)

    def operands(self, op: OpConfig) -> tuple[Operand, Operand]:
        return self.memory.operand(op.input), self.memory.operand(op.output)

    def room(self, source: Operand) -> Scratch:
        """For products with these blocks; one is enough for all operations that need no more."""
        blocks = self.memory.rows * source.layers * source.columns // BLOCK
        if len(self.scratch.dx) < blocks:
            self.memory.claim(36 * blocks)
            self.scratch = Scratch.of(blocks)
        return self.scratch

    def floats(self, op: OpConfig, z: int, y: int, x: int) -> FloatWeight:
        """The weight of its place. GraphError when the graph gives it another size than its operation needs."""
        weight = self.placed.setdefault(self.place(op), float_weight(op.weight, z, y, x))
        if not isinstance(weight, FloatWeight) or len(weight.array) != op.weight.length:
            raise GraphError("shares its weight with one of another size")
        return weight

    def q40(self, op: OpConfig, z: int, y: int, x: int) -> Q40Weight:
        weight = self.placed.setdefault(self.place(op), q40_weight(op.weight, self.compute, z, y, x))
        if not isinstance(weight, Q40Weight) or weight.size != op.weight:
            raise GraphError("shares its weight with one of another size")
        return weight


def config_of(op: OpConfig, kind: type[C]) -> C:
    if not isinstance(op.config, kind):
        raise GraphError(f"a {type(op.config).__name__} where a {kind.__name__} belongs")
    return op.config


def in_order(steps: Sequence[Step]) -> Step:
    if len(steps) == 1:
        return steps[0]

    def run(rows: int) -> None:
        for step in steps:
            step(rows)

    return run
