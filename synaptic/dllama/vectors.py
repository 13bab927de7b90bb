"""
Writing LLVM vector code that compiled functions can call, since numba has no vectors: the building blocks.

llvmlite has no types, so Builder and Value are anything to the type checker.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # it has none
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

Builder = Any
Value = Any
Type = Any

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F32 = ir.FloatType()


def emitted(returns: Type, *takes: Type) -> Callable[[Callable[..., Value]], Callable[..., Any]]:
    """A function (builder, *values) that writes code becomes one that compiled functions call with these types."""

    def decorate(emit: Callable[..., Value]) -> Callable[..., Any]:
        def define(_: object, *__: object) -> tuple[Type, Callable[..., Value]]:
            def generate(context: Value, builder: Builder, signature: object, values: tuple[Value, ...]) -> Value:
                result = emit(builder, *values)
                return context.get_dummy_value() if returns is types.void else result

            return returns(*takes), generate

        names = ["typing", *list(inspect.signature(emit).parameters)[1:]]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        define.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
        define.__name__, define.__doc__ = emit.__name__, emit.__doc__
        return intrinsic(define)  # type: ignore[no-any-return, unused-ignore]

    return decorate


def vector(of: Type, lanes: int) -> Type:
    return ir.VectorType(of, lanes)


def constant(of: Type, value: int) -> Value:
    """In every lane of a vector of integers."""
    return ir.Constant(of, [value] * of.count)


def load(build: Builder, of: Type, address: Value, offset: int = 0) -> Value:
    """From an integer address, which needs no alignment."""
    return build.load(build.inttoptr(plus(build, address, offset), of.as_pointer()), align=1)


def store(build: Builder, value: Value, address: Value, offset: int = 0) -> None:
    build.store(value, build.inttoptr(plus(build, address, offset), value.type.as_pointer()), align=1)


def plus(build: Builder, address: Value, offset: int) -> Value:
    return build.add(address, I64(offset)) if offset else address


def at(build: Builder, address: Value, index: Value, size: int) -> Value:
    """The address of element `index`."""
    return build.add(address, build.mul(index, I64(size)))


def splat(build: Builder, value: Value, lanes: int) -> Value:
    """In every lane."""
    one = build.insert_element(ir.Constant(vector(value.type, lanes), ir.Undefined), value, I32(0))
    return build.shuffle_vector(one, one, ir.Constant(vector(I32, lanes), [0] * lanes))


def pick(build: Builder, left: Value, right: Value, lanes: list[int]) -> Value:
    """A vector of these lanes of left and, counted on, right."""
    return build.shuffle_vector(left, right, ir.Constant(vector(I32, len(lanes)), lanes))


def fold(build: Builder, value: Value) -> Value:
    """Half the lanes: the upper ones are added to the lower."""
    half = value.type.count // 2
    lower, upper = (pick(build, value, value, list(range(k, k + half))) for k in (0, half))
    return build.fadd(upper, lower)


def fma(build: Builder, a: Value, b: Value, c: Value) -> Value:
    """Rounded once."""
    return call(build, f"llvm.fma.v{c.type.count}f32", a, b, c)


def call(build: Builder, name: str, *args: Value, returns: Type = None) -> Value:
    kind = ir.FunctionType(returns or args[0].type, [each.type for each in args])
    return build.call(cgutils.get_or_insert_function(build.module, kind, name), args)  # type: ignore[no-untyped-call, unused-ignore]


class Sums:
    """Accumulators that begin at zero and become registers."""

    def __init__(self, build: Builder, of: Type, count: int) -> None:
        self._build = build
        self._places = [cgutils.alloca_once(build, of) for _ in range(count)]  # type: ignore[no-untyped-call, unused-ignore]
        for place in self._places:
            build.store(ir.Constant(of, None), place)

    def add(self, index: int, a: Value, b: Value) -> None:
        """a · b, rounded once with the sum."""
        place = self._places[index]
        self._build.store(fma(self._build, a, b, self._build.load(place)), place)

    def all(self) -> list[Value]:
        return [self._build.load(place) for place in self._places]


@contextmanager
def loop(build: Builder, count: Value) -> Iterator[Value]:
    """The index, from 0 on."""
    with cgutils.for_range(build, count) as step:
        yield step.index
