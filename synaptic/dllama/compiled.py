"""How functions of this room are compiled (numba): once for a machine, kept in numba's cache beside the source or in the user's."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")

_FILES = ("compiled", "vectors", "simd", "simd_q40", "kernels", "attention_kernels", "matmul_kernels")
_DIGEST = hashlib.sha256(b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in _FILES)).hexdigest()


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Without the interpreter's lock, without checks."""
    stamped = _stamped(function)
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(stamped)  # type: ignore[no-any-return, unused-ignore]
    except RuntimeError:  # there is nowhere to write to: it is compiled for every process
        return numba.njit(nogil=True, error_model="numpy")(stamped)  # type: ignore[no-any-return, unused-ignore]


def _stamped(function: Callable[P, R]) -> Callable[P, R]:
    """
    With all sources as a variable of its closure, which is part of the cache's key.

    By itself numba looks at the function's own file only, and would go on with code from older files of the others.
    """
    assert isinstance(function, types.FunctionType)
    code = function.__code__.replace(co_freevars=("sources",))
    copy = types.FunctionType(code, function.__globals__, function.__name__, None, (types.CellType(_DIGEST),))
    copy.__qualname__, copy.__module__, copy.__doc__ = function.__qualname__, function.__module__, function.__doc__
    return copy
