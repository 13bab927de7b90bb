"""How large a model is, as far as its name says: all there is to know of one that lives elsewhere."""

from __future__ import annotations

import dataclasses
import re

_UNITS = {"m": 10**6, "b": 10**9, "t": 10**12}
# 70b, 1.5b, 8x7b (experts), e4b (effective); not 7bit, q4_k_m, v1.5
_SIZE = re.compile(r"(?<![a-z0-9.])(?:(\d{1,3})x|e)?(\d{1,4}(?:\.\d{1,3})?)([bmt])(?![a-z0-9])")
_ACTIVE = re.compile(r"(?<![a-z0-9.])a(\d{1,4}(?:\.\d{1,3})?)([bm])(?![a-z0-9])")


@dataclasses.dataclass(frozen=True)
class NamedSize:
    """An upper bound for a mixture of experts: `8x7b` counts what its experts share eight times."""

    parameters: int
    active_parameters: int


def size_in(name: str) -> NamedSize | None:
    """`llama3.1:405b` → 405 billion; `qwen3:235b-a22b` → 22 of 235; `llama3.2` → None."""
    text = name.lower()
    sizes = [int(experts or 1) * float(count) * _UNITS[unit] for experts, count, unit in _SIZE.findall(text)]
    if not sizes:
        return None
    parameters = round(max(sizes))
    active = _ACTIVE.search(text)
    return NamedSize(parameters, min(parameters, round(float(active[1]) * _UNITS[active[2]])) if active else parameters)
