"""Bytes as a person types and reads them, here and in the shell alike: K, M, G and T count 1024s, with B or iB behind them or not."""

from __future__ import annotations

import re

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_LARGEST = 1 << 50  # bytes; more is a slip of the fingers


def bytes_of(text: str) -> int | None:
    """`8GiB`, `1.5 G`, `500MB`, `4096`; None: it is no size."""
    found = re.fullmatch(r"(\d{1,16}(?:\.\d{1,9})?) ?(?:([KMGT])I?)?B?", text.strip().upper(), re.ASCII)
    size = round(float(found[1]) * 1024 ** " KMGT".index(found[2] or " ")) if found else None
    return size if size is not None and size <= _LARGEST else None


def gib(count: int) -> str:
    """As `24 GiB`, `1.6 MiB`."""
    size, unit = float(count), "B"
    for unit in _UNITS:
        if abs(size) < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size:.0f} {unit}" if size >= 100 or unit == "B" or size == int(size) else f"{size:.1f} {unit}"
