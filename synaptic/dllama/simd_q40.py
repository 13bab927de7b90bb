"""
For compiled functions: dots of 4-bit weights with 8-bit activations, 32 rows of a matrix at a time (see quants).

Portable, but for four bytes times four bytes: x86 has an instruction for it (VNNI) or two (AVX2), taken where the
processor has them. Which one is FLAVOUR; all give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]  # it has none
from numba import types
from numba.core import config

from synaptic.dllama.quants import GROUP
from synaptic.dllama.vectors import (
    F32,
    I8,
    I16,
    I32,
    I64,
    Builder,
    Sums,
    Value,
    at,
    call,
    constant,
    emitted,
    load,
    loop,
    pick,
    plus,
    splat,
    store,
    vector,
)


def _features() -> frozenset[str]:
    """Of the processor that numba compiles for."""
    named = getattr(config, "CPU_FEATURES", None)
    if named is not None:
        return frozenset(word[1:] for word in named.split(",") if word.startswith("+"))
    if getattr(config, "CPU_NAME", None) == "generic":
        return frozenset()
    return frozenset(name for name, has in llvm.get_host_cpu_features().items() if has)


def _flavour(features: frozenset[str]) -> str:
    if "avx512vnni" in features:
        return "vnni"
    return "avx2" if "avx2" in features else "portable"


FLAVOUR = _flavour(_features())
LANES = 16 if FLAVOUR == "vnni" else 8  # rows in one register
_FLOATS, _NIBBLES, _WORDS = vector(F32, LANES), vector(I8, 4 * LANES), vector(I16, 4 * LANES)
_BLOCK = 16 * GROUP  # bytes of the weights of 32 rows


def _rows(tokens: int, *, by_lane: bool) -> Callable[..., Any]:
    """
    Dots of 32 rows with one or two `tokens`, over `blocks` of 32 values.

    weights, scales: the group's. x: the first token's blocks of Q80, `x_step` bytes before the next one's. starts, dx: see
    matmul_twins.prepare. out: 32 floats for a token, `out_step` bytes before the next one's.
    """

    @emitted(types.void, *[types.int64] * 9)
    def rows(
        build: Builder,
        weights: Value,
        scales: Value,
        x: Value,
        x_step: Value,
        starts: Value,
        dx: Value,
        blocks: Value,
        out: Value,
        out_step: Value,
    ) -> None:
        at_once = LANES if by_lane else GROUP  # eight sums a row take all registers there are
        for first in range(0, GROUP, at_once):
            part = _Part(build, weights, scales, list(range(first, first + at_once, LANES)), 8 if by_lane else 1)
            sums = [[Sums(build, _FLOATS, part.sums) for _ in part.rows] for _ in range(tokens)]
            with loop(build, blocks) as block:
                part.go_to(block)
                for k, own in enumerate(sums):
                    quants = at(build, build.add(x, build.mul(x_step, I64(k))), block, 34)
                    here = build.add(build.mul(blocks, I64(k)), block)
                    part.add(plus(build, quants, 2), at(build, starts, here, 4 * part.sums), at(build, dx, here, 4), own)
            for k, own in enumerate(sums):
                for row, each in zip(part.rows, own, strict=True):
                    store(build, _tree(build, each.all()), build.add(out, build.mul(out_step, I64(k))), 4 * row)

    return rows


class _Part:
    """Some registers of rows, named by their first row: their weights of a block, unpacked once for all tokens."""

    def __init__(self, build: Builder, weights: Value, scales: Value, rows: list[int], sums: int) -> None:
        self.rows, self.sums = rows, sums  # of a row: one, or one for each four values of a block
        self._build, self._weights, self._scales = build, weights, scales

    def go_to(self, block: Value) -> None:
        build = self._build
        weights, scales = at(build, self._weights, block, _BLOCK), at(build, self._scales, block, 4 * GROUP)
        self._nibbles = [_unpacked(build, weights, row) for row in self.rows]
        self._factors = [load(build, _FLOATS, scales, 4 * row) for row in self.rows]

    def add(self, quants: Value, start: Value, dx: Value, sums: list[Sums]) -> None:
        """This block's products with a token's."""
        build = self._build
        fours = [splat(build, load(build, I32, quants, 4 * k), LANES) for k in range(8)]
        starts = [splat(build, load(build, I32, start, 4 * k), LANES) for k in range(self.sums)]
        scale = splat(build, load(build, F32, dx), LANES)
        for nibbles, factor, own in zip(self._nibbles, self._factors, sums, strict=True):
            totals, product = list(starts), build.fmul(factor, scale)
            for k in range(8):
                totals[k % self.sums] = _dot4(build, totals[k % self.sums], nibbles[k], fours[k])
            for k, total in enumerate(totals):
                own.add(k, build.sitofp(total, _FLOATS), product)


def _unpacked(build: Builder, weights: Value, row: int) -> list[Value]:
    """Values 4k … 4k + 3 of each row, k = 0 … 7: the low nibbles, then the high ones."""
    packed = [load(build, _NIBBLES, weights, 4 * GROUP * k + 4 * row) for k in range(4)]
    low = [build.and_(each, constant(_NIBBLES, 15)) for each in packed]
    return low + [build.lshr(each, constant(_NIBBLES, 4)) for each in packed]


def _tree(build: Builder, lane: list[Value]) -> Value:
    if len(lane) == 1:
        return lane[0]
    half = len(lane) // 2
    return _tree(build, [build.fadd(lane[k + half], lane[k]) for k in range(half)])


def _dot4(build: Builder, start: Value, unsigned: Value, signed: Value) -> Value:
    """start + four products, in each lane. `unsigned`: nibbles; `signed`: four bytes in a lane."""
    signed = build.bitcast(signed, _NIBBLES)
    if FLAVOUR == "vnni":
        return call(build, "llvm.x86.avx512.vpdpbusd.512", start, unsigned, signed)
    if FLAVOUR == "avx2":
        ones = constant(vector(I16, 2 * LANES), 1)
        pairs = call(build, "llvm.x86.avx2.pmadd.ub.sw", unsigned, signed, returns=ones.type)  # at most 2 · 15 · 128
        return build.add(start, call(build, "llvm.x86.avx2.pmadd.wd", pairs, ones, returns=start.type))
    products = build.mul(build.zext(unsigned, _WORDS), build.sext(signed, _WORDS))
    return build.add(start, build.sext(_pairs(build, _pairs(build, products)), start.type))


def _pairs(build: Builder, value: Value) -> Value:
    """Sums of neighbours: half as many lanes."""
    even, odd = (pick(build, value, value, list(range(side, value.type.count, 2))) for side in (0, 1))
    return build.add(even, odd)


q40_token = _rows(1, by_lane=False)
q40_tokens1, q40_tokens2 = _rows(1, by_lane=True), _rows(2, by_lane=True)
