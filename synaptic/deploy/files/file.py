"""A file as a node gets it. Values only."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class File:
    text: str
    mode: int = 0o644
