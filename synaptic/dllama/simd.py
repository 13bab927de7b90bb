"""
For compiled functions: fused multiply-add, the bits of floats, and dots of floats that add as distributed-llama's x86 build does.

Addresses are plain integers: nothing is checked here, whoever calls has checked. Portable; the order of additions is
the same on every machine.
"""

from __future__ import annotations

from numba import types

from synaptic.dllama.vectors import F32, I32, I64, Builder, Sums, Value, at, emitted, fold, load, loop, pick, splat, store, vector

_float, _address = types.float32, types.int64
_FOUR, _EIGHT = vector(F32, 4), vector(F32, 8)


@emitted(_float, _float, _float, _float)
def fma(build: Builder, a: Value, b: Value, c: Value) -> Value:
    """a · b + c, rounded once."""
    return build.fma(a, b, c)


@emitted(_float, types.int32)
def bits_to_float(build: Builder, bits: Value) -> Value:
    return build.bitcast(bits, F32)


@emitted(types.int32, _float)
def float_to_bits(build: Builder, value: Value) -> Value:
    return build.bitcast(value, I32)


@emitted(_float, _address, _address, _address)
def dot8(build: Builder, left: Value, right: Value, n: Value) -> Value:
    """Of n floats, a multiple of 8: lane j sums the products j, j + 8, …; then ((l4+l0)+(l6+l2)) + ((l5+l1)+(l7+l3))."""
    return _dot(build, left, right, n, 8)


@emitted(_float, _address, _address, _address)
def dot16(build: Builder, left: Value, right: Value, n: Value) -> Value:
    """As dot8, with 16 lanes, of which lane j + 8 is added to lane j first."""
    return _dot(build, left, right, n, 16)


@emitted(_float, _address, _address)
def sum8(build: Builder, values: Value, n: Value) -> Value:
    """Of n floats, a multiple of 8, in lanes as dot8: times one is exact."""
    one, sums = splat(build, F32(1.0), 8), Sums(build, _EIGHT, 1)
    with loop(build, build.udiv(n, I64(8))) as index:
        sums.add(0, load(build, _EIGHT, at(build, values, index, 32)), one)
    return _folded(build, sums.all()[0])


def _dot(build: Builder, left: Value, right: Value, n: Value, lanes: int) -> Value:
    sums, kind = Sums(build, vector(F32, lanes), 1), vector(F32, lanes)
    with loop(build, build.udiv(n, I64(lanes))) as index:
        a, b = (load(build, kind, at(build, address, index, 4 * lanes)) for address in (left, right))
        sums.add(0, a, b)
    return _folded(build, sums.all()[0])


def _folded(build: Builder, total: Value) -> Value:
    while total.type.count > 1:
        total = fold(build, total)
    return build.extract_element(total, I64(0))


@emitted(types.void, *[_address] * 6)
def dots(build: Builder, left: Value, rows: Value, step: Value, n: Value, out: Value, size: Value) -> None:
    """The dot8 of `left` with each of n rows of `size` floats, a step of bytes apart: n floats. Four rows at a time."""
    fours = build.udiv(n, I64(4))
    with loop(build, fours) as four:
        first = build.add(rows, build.mul(build.mul(four, I64(4)), step))
        sums, row = Sums(build, _EIGHT, 4), [build.add(first, build.mul(I64(k), step)) for k in range(4)]
        with loop(build, build.udiv(size, I64(8))) as index:
            a = load(build, _EIGHT, at(build, left, index, 32))
            for k in range(4):
                sums.add(k, a, load(build, _EIGHT, at(build, row[k], index, 32)))
        store(build, _four_sums(build, sums.all()), at(build, out, four, 16))
    done = build.mul(fours, I64(4))
    with loop(build, build.sub(n, done)) as index:
        one = build.add(done, index)
        store(build, _dot(build, left, build.add(rows, build.mul(one, step)), size, 8), at(build, out, one, 4))


def _four_sums(build: Builder, eights: list[Value]) -> Value:
    """The sums of four vectors, each as dot8 has it: folded to four lanes, transposed, added."""
    a, b, c, d = (fold(build, eight) for eight in eights)
    low = [pick(build, left, right, [0, 4, 1, 5]) for left, right in ((a, b), (c, d))]  # lane 0 of both, lane 1 of both
    high = [pick(build, left, right, [2, 6, 3, 7]) for left, right in ((a, b), (c, d))]
    l0, l1 = (pick(build, low[0], low[1], lanes) for lanes in ([0, 1, 4, 5], [2, 3, 6, 7]))
    l2, l3 = (pick(build, high[0], high[1], lanes) for lanes in ([0, 1, 4, 5], [2, 3, 6, 7]))
    return build.fadd(build.fadd(l2, l0), build.fadd(l3, l1))


@emitted(types.void, *[_address] * 6)
def weigh(build: Builder, weights: Value, rows: Value, step: Value, n: Value, out: Value, size: Value) -> None:
    """The sum of n rows of `size` floats, a step of bytes apart, each times its weight: one after another, fused."""
    wide = build.udiv(size, I64(64))
    first = build.mul(wide, I64(256))
    with loop(build, wide) as index:
        offset = build.mul(index, I64(256))
        _weigh(build, weights, build.add(rows, offset), step, n, build.add(out, offset), 16, 4)
    with loop(build, build.udiv(build.sub(build.mul(size, I64(4)), first), I64(32))) as index:
        offset = build.add(first, build.mul(index, I64(32)))
        _weigh(build, weights, build.add(rows, offset), step, n, build.add(out, offset), 8, 1)


def _weigh(build: Builder, weights: Value, rows: Value, step: Value, n: Value, out: Value, lanes: int, registers: int) -> None:
    kind = vector(F32, lanes)
    sums = Sums(build, kind, registers)
    with loop(build, n) as index:
        weight, row = splat(build, load(build, F32, at(build, weights, index, 4)), lanes), build.add(rows, build.mul(index, step))
        for k in range(registers):
            sums.add(k, weight, load(build, kind, row, 4 * lanes * k))
    for k, total in enumerate(sums.all()):
        store(build, total, out, 4 * lanes * k)
