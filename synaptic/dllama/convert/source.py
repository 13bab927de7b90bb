"""
A model in another format, as far as it takes to convert it: named values, and tensors that are read piece by piece.

Names and values are those of GGUF. Whoever makes one has checked that every tensor lies in its file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

Scalar = int | float | str | None
Array = tuple[bytes, ...] | tuple[int | float, ...]


class CannotConvertError(ValueError):
    """Says why, in words that follow the model's name."""


@dataclasses.dataclass(frozen=True)
class SourceTensor:
    """`read(offset, count)`: bytes of it; blocks on the disk."""

    name: str
    kind: str
    shape: tuple[int, ...]  # outermost first
    size: int  # bytes
    read: Callable[[int, int], bytes]


@dataclasses.dataclass(frozen=True)
class Source:
    values: Mapping[str, Scalar | tuple[int, ...]]
    texts: Mapping[str, bytes]  # of any length
    arrays: Mapping[str, Array]
    tensors: Mapping[str, SourceTensor]

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture"))

    def number(self, key: str, default: float | None = None) -> float:
        """Of a key, `{}` in which stands for the architecture. CannotConvertError when there is none, and no default."""
        name = key.format(self.architecture)
        value = self.values.get(name, default)
        if isinstance(value, tuple):
            if len(set(value)) != 1:
                raise CannotConvertError(f"has layers that differ: {name}")
            value = value[0]
        if not isinstance(value, int | float):
            raise CannotConvertError(f"does not say its {name}")
        return value

    def whole(self, key: str, default: int | None = None) -> int:
        """The same for values that must be whole numbers."""
        value = self.number(key, default)
        if not float(value).is_integer() or not 0 <= value < 2**31:
            raise CannotConvertError(f"has {key.format(self.architecture)} = {value}, and .m files hold whole numbers only")
        return int(value)

    def tensor(self, name: str) -> SourceTensor:
        try:
            return self.tensors[name]
        except KeyError:
            raise CannotConvertError(f"has no tensor {name}") from None

    def has(self, key: str) -> bool:
        return key.format(self.architecture) in self.values
