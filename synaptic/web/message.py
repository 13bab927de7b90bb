"""What the websockets of nodes and of llama.cpp say: one shape for both, as in contracts.md."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping

from synaptic.results import Json
from synaptic.terminal import one_line

INFO, WARNING, ERROR, DEBUG = "info", "warning", "error", "debug"
_LONGEST = 4096  # characters of a line of a log


@dataclasses.dataclass(frozen=True)
class Message:
    """`timestamp` in seconds since the epoch. `message` may be foreign text; it leaves as visible text."""

    component: str
    type: str
    message: str
    level: str = INFO
    details: Mapping[str, Json] = dataclasses.field(default_factory=dict)
    timestamp: float = dataclasses.field(default_factory=time.time)

    def text(self) -> str:
        return json.dumps(
            {
                "timestamp": round(self.timestamp, 3),
                "component": self.component,
                "type": self.type,
                "message": one_line(self.message, _LONGEST),
                "level": self.level,
                "details": dict(self.details),
            },
            ensure_ascii=False,
        )


def lost(count: int) -> str:
    plural = "message was" if count == 1 else "messages were"
    return Message("system", "info", f"{count} {plural} lost here: this viewer was too slow", WARNING, {"lost": count}).text()
