"""What happens by itself, told when it disturbs nothing: above an open prompt, else before the next one."""

from __future__ import annotations

import collections
from types import TracebackType

from synaptic.endpoint import Endpoint
from synaptic.events import BackendChecked, Bus, Event, Noticed
from synaptic.shell.colours import AMBER
from synaptic.shell.face import Face

_CHECK = {"dllama": "dllama check"}
MOST = 50  # the oldest of more are not worth reading
_WORKING = ("idle", "in-use")


class Notices:
    """Listens to `bus` while its context is open. `is_open`: a notice may be shown at once."""

    def __init__(self, bus: Bus, face: Face) -> None:
        self.is_open = False
        self._bus = bus
        self._face = face
        self._waiting: collections.deque[tuple[str, bool]] = collections.deque(maxlen=MOST)
        self._working: set[Endpoint] = set()
        self._dark: set[Endpoint] = set()  # held by a coordinator of ours, and told to be lost

    def __enter__(self) -> Notices:
        self._bus.tap(self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bus.untap(self._hear)
        self.flush()

    def flush(self) -> None:
        while self._waiting:
            text, attention = self._waiting.popleft()
            self._face.aside(text, AMBER if attention else "dim")

    def _hear(self, event: Event) -> None:
        match event:
            case Noticed():
                self._waiting.append((event.text, event.attention))
            case BackendChecked(state="in-use", health="lost", endpoint=endpoint):
                self._tell_dark(endpoint, event.detail)
            case BackendChecked(state=state, endpoint=endpoint) if state in _WORKING:
                self._working.add(endpoint)
                self._tell_back(endpoint)
            case BackendChecked(state="unreachable", endpoint=endpoint) if endpoint in self._working:
                self._working.remove(endpoint)
                why, hint = event.detail or "it does not answer", _CHECK.get(event.kind, "rpc check")
                self._waiting.append((f"worker {endpoint} is lost: {why}   try: {hint}", True))
        if self.is_open:
            self.flush()

    def _tell_dark(self, endpoint: Endpoint, detail: str) -> None:
        self._working.discard(endpoint)  # once it is let go, it is no news that it is lost
        if endpoint not in self._dark:
            self._dark.add(endpoint)
            self._waiting.append((f"worker {endpoint} is lost: {detail}   try: coordinator list", True))

    def _tell_back(self, endpoint: Endpoint) -> None:
        if endpoint in self._dark:
            self._dark.remove(endpoint)
            self._waiting.append((f"worker {endpoint} is back", False))
