"""From the event bus to the four feeds, while the dashboard is on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from synaptic import log
from synaptic.events import Event
from synaptic.models.model import BUILTIN
from synaptic.web import journal, llama_events, message, node_events
from synaptic.web.activity import Activity
from synaptic.web.hub import Feed
from synaptic.web.llama_events import LlamaEvents
from synaptic.web.metrics import Meters
from synaptic.web.pulse import Pulse
from synaptic.web.sockets import Sockets
from synaptic.web.splits import about, splits

if TYPE_CHECKING:
    from synaptic.session import Session

HEARTBEAT = 30.0  # seconds between two words that a coordinator is up


class Wiring:
    """What has happened before it was opened is told too, as far as the bus remembers it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.activity = Activity()
        self.meters = Meters()
        self.snapshots = Feed(backlog=0, limit=1)
        self.logs = Feed(told=journal.lost_lines)
        self.nodes = Feed(told=message.lost)
        self.llama = Feed(told=message.lost)
        self.sockets = Sockets()
        self.pulse = Pulse(session, self.activity, self.snapshots)
        self._events = LlamaEvents(lambda child: about(session, child))
        self._journal = journal.Journal(self.logs)
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        folder = self.session.logs
        self._journal.install(folder / log.NAME)
        for event in self.session.bus.history:
            self._tell(event)
        self.session.bus.tap(self._hear)
        self._tasks = [asyncio.create_task(self.pulse.run()), asyncio.create_task(self._beat())]

    async def close(self) -> None:
        """Every viewer is told goodbye."""
        self.session.bus.untap(self._hear)
        self._journal.remove()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self.sockets.close()

    def _hear(self, event: Event) -> None:
        self._tell(event)
        self.pulse.hear(event)
        journal.write_down(event)

    def _tell(self, event: Event) -> None:
        self.activity.hear(event)
        self.meters.hear(event)
        for each in self._events.of(event):
            self.llama.publish(each.text())
        if told := node_events.of(event):
            self.nodes.publish(told.text())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            for split in splits(self.session):
                if split.state == "ready" and split.engine != BUILTIN:
                    noun = llama_events.noun_of(split.engine)
                    self.llama.publish(llama_events.active(split.model, len(split.backends), time.time(), noun).text())
