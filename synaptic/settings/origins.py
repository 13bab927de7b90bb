"""
Beside a worker in the settings file: where it was found, and what tells its machine again at another address.

    {"host": "192.168.1.10", "port": 50052, "source": "zeroconf", "mac": "02:00:00:00:00:0a", "instance": "zeroconf left box 50052"}

All but host and port may be missing.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from synaptic.endpoint import Endpoint
from synaptic.results import Json
from synaptic.settings.keys import backend, entries
from synaptic.terminal import one_line

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
_LONGEST = 100  # characters: a name of zeroconf has 63


@dataclasses.dataclass(frozen=True)
class Origin:
    """`source` is empty for one that somebody named. `instance`: what zeroconf or Consul calls it, behind which of them does."""

    source: str = ""
    mac: str = ""
    instance: str = ""

    @classmethod
    def of(cls, entry: Json) -> Origin:
        """What cannot be is as if it were missing."""
        if not isinstance(entry, dict):
            return cls()
        source, mac, instance = (each if isinstance(each := entry.get(key), str) else "" for key in ("source", "mac", "instance"))
        return cls(one_line(source, 20), mac if _MAC.match(mac) else "", one_line(instance, _LONGEST))


def origins(value: Json) -> dict[Endpoint, Origin]:
    """Of the file's list of workers; the first entry of each counts."""
    found: dict[Endpoint, Origin] = {}
    for entry in entries(value):
        try:
            found.setdefault(backend(entry), Origin.of(entry))
        except ValueError:
            continue
    return found


def noted(value: Json, told: Mapping[Endpoint, Origin]) -> list[Json]:
    """The file's list with this beside those that are in it. An entry that is only text stays as it is."""
    return [_noted(entry, told) for entry in entries(value)]


def _noted(entry: Json, told: Mapping[Endpoint, Origin]) -> Json:
    try:
        origin = told.get(backend(entry))
    except ValueError:
        return entry
    if origin is None or not isinstance(entry, dict):
        return entry
    fields: dict[str, Json] = {"source": origin.source, "mac": origin.mac, "instance": origin.instance}
    kept = {key: each for key, each in entry.items() if key not in fields}
    return kept | {key: each for key, each in fields.items() if each}
