"""What the demo model knows by heart, for tests that ask it."""

from __future__ import annotations

from scripts.demo_model.faq import FILE, Entry, read

__all__ = ["FILE", "Entry", "entries"]


def entries() -> list[Entry]:
    return read(FILE)
