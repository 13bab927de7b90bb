"""How fast each worker proved to be: one small file in the state folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.files import write_whole

MOST = 500  # workers; the longest unmeasured goes first
LIMIT = 1 << 18  # bytes that are read at most


@dataclasses.dataclass(frozen=True)
class Speed:
    """
    `bandwidth`: bytes/s at which weights pass through it. Measured: what a Q8_0 model got; from a specification
    (`measured_at` None): what its memory could do, of which a model gets a part.
    """

    bandwidth: float
    round_trip: float = 0.0  # seconds
    link: float | None = None  # bytes/s towards it
    measured_at: float | None = None  # seconds since the epoch
    compute: float | None = None  # flop/s, reading a prompt
    memory: int | None = None  # bytes that it grants us, where nothing else tells them


class Speeds:
    """`path` None: nothing is kept. A file that is broken counts as empty: all of it can be measured again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def all(self) -> dict[Endpoint, Speed]:
        if self._path is None:
            return {}
        try:
            with self._path.open("rb") as file:
                document = json.loads(file.read(LIMIT))
        except (OSError, ValueError, RecursionError):
            return {}
        entries = document.get("workers") if isinstance(document, dict) else None
        return dict(filter(None, map(_read, entries.items()))) if isinstance(entries, dict) else {}

    def note(self, measured: Mapping[Endpoint, Speed]) -> None:
        """Raises SynapticError when the file cannot be written."""
        if self._path is None:
            return
        known = self.all() | dict(measured)
        newest = sorted(known.items(), key=lambda each: -(each[1].measured_at or 0.0))[:MOST]
        text = json.dumps({"workers": {str(endpoint): dataclasses.asdict(speed) for endpoint, speed in newest}}, indent=1)
        write_whole(self._path, text)


def _read(entry: tuple[object, object]) -> tuple[Endpoint, Speed] | None:
    name, values = entry
    if not isinstance(values, dict):
        return None
    numbers = {key: _number(values.get(key)) for key in ("bandwidth", "round_trip", "link", "measured_at", "compute", "memory")}
    bandwidth = numbers["bandwidth"]
    if not bandwidth:
        return None
    with contextlib.suppress(UsageError):
        link, compute, memory = (numbers[key] or None for key in ("link", "compute", "memory"))
        speed = Speed(bandwidth, numbers["round_trip"] or 0.0, link, numbers["measured_at"], compute, memory and int(memory))
        return Endpoint.parse(str(name)), speed
    return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value) if abs(value) < 1e30 else math.inf
    return number if 0 <= number < math.inf else None
