"""What the demo model knows by heart, for tests that ask it."""

from __future__ import annotations

from pathlib import Path

from scripts.demo_model.faq import Entry, read

FILE = Path(__file__).parents[1] / "config" / "demo" / "faq.txt"

__all__ = ["FILE", "Entry", "entries"]


def entries() -> list[Entry]:
    return read(FILE)
