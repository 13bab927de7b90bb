"""What happens by itself, told when it disturbs nothing: above an open prompt, else before the next one."""

from __future__ import annotations

import collections
from types import TracebackType

from synaptic.endpoint import Endpoint
from synaptic.events import BackendChecked, Bus, Event, Noticed
from synaptic.shell.face import Face

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

    def __enter__(self) -> Notices:
        self._bus.tap(self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bus.untap(self._hear)
        self.flush()

    def flush(self) -> None:
        while self._waiting:
            text, attention = self._waiting.popleft()
            self._face.aside(text, "yellow" if attention else "dim")

    def _hear(self, event: Event) -> None:
        match event:
            case Noticed():
                self._waiting.append((event.text, event.attention))
            case BackendChecked(state=state, endpoint=endpoint) if state in _WORKING:
                self._working.add(endpoint)
            case BackendChecked(state="unreachable", endpoint=endpoint) if endpoint in self._working:
                self._working.remove(endpoint)
                self._waiting.append((f"worker {endpoint} is lost: {event.detail or 'it does not answer'}   try: rpc check", True))
        if self.is_open:
            self.flush()
