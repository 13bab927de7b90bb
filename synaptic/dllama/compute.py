"""Who computes: kernels where numba is, else numpy, some fifty times slower."""

from __future__ import annotations

import dataclasses
import importlib.util
from types import ModuleType


@dataclasses.dataclass(frozen=True)
class Compute:
    """Three modules with the functions of twins, attention_twins and matmul_twins."""

    is_compiled: bool
    rows: ModuleType
    attention: ModuleType
    matmul: ModuleType


def compute(*, compiled: bool | None = None) -> Compute:
    """`compiled`: None takes numba if it is installed; True without it is an ImportError."""
    if compiled or (compiled is None and importlib.util.find_spec("numba")):
        from synaptic.dllama import attention_kernels, kernels, matmul_kernels

        return Compute(True, kernels, attention_kernels, matmul_kernels)
    from synaptic.dllama import attention_twins, matmul_twins, twins

    return Compute(False, twins, attention_twins, matmul_twins)
