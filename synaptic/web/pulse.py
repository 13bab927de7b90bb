"""Snapshots: soon after something changed, every two seconds anyway, and none while nobody looks. The charts' points, always."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import logging
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from synaptic.cluster.backend import State
from synaptic.errors import SynapticError
from synaptic.events import ChildSpoke, Event
from synaptic.web.activity import Activity
from synaptic.web.hub import Feed
from synaptic.web.links import Links
from synaptic.web.machines import Machine, ThisMachine
from synaptic.web.snapshot import Sample, snapshot
from synaptic.web.splits import lines, splits

if TYPE_CHECKING:
    from synaptic.session import Session

_logger = logging.getLogger(__name__)
EVERY = 2.0  # seconds between two points of a chart
AT_MOST = 0.5  # seconds between two snapshots
REMEMBERED = 300  # points: ten minutes
FRESH = 5.0  # seconds for which what servers and ports said is believed


class Pulse:
    def __init__(self, session: Session, activity: Activity, feed: Feed) -> None:
        self._session = session
        self._activity = activity
        self._feed = feed
        self._changed = asyncio.Event()
        self._this = ThisMachine()
        self._here: Machine = self._this.look(time.time())
        self._counted = (time.time(), activity.tokens)
        self._history: collections.deque[Sample] = collections.deque(maxlen=REMEMBERED)
        self._links = Links()
        self._asking: asyncio.Task[object] | None = None
        self._asked = 0.0  # when it began

    def hear(self, event: Event) -> None:
        if not isinstance(event, ChildSpoke):  # a log changes nothing
            self._changed.set()

    def text(self, *, whole: bool = True) -> str:
        """`whole`: with the points so far, for one who has none. The user's home is not named in it."""
        document = snapshot(self._session, self._activity, self._here, self._links, at=time.time(), points=self._history, whole=whole)
        home = self._session.environment.home
        text = json.dumps(document, ensure_ascii=False)
        return text.replace(json.dumps(str(home), ensure_ascii=False)[1:-1], "~") if home and len(str(home)) > 1 else text

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EVERY):
                        await self._changed.wait()
                self._changed.clear()
                try:
                    await self._beat(time.time())
                except (SynapticError, OSError) as error:  # a broken ledger, a system that does not tell: the next beat may do better
                    _logger.warning("no snapshot: %s", error)
                await asyncio.sleep(AT_MOST)
        finally:
            if self._asking:
                self._asking.cancel()

    async def _beat(self, now: float) -> None:
        if now - self._counted[0] >= EVERY:  # over less, a busy moment would be a busy machine
            self._here = self._this.look(now)
            await self._measure(now)
            self._history.append(self._sample(now))
        if self._feed.viewers:
            self._ask(now)
            self._feed.publish(self.text(whole=False))

    async def _measure(self, now: float) -> None:
        """The links, while somebody looks."""
        if self._feed.viewers:
            await self._links.look(lines(self._session), now)
        else:
            self._links.forget()

    def _ask(self, now: float) -> None:
        """See how the others are and which coordinators other programs run, while somebody looks."""
        if self._asking is None or self._asking.done():
            self._session.coordinators.look()
            if not 0 <= now - self._asked < FRESH:
                self._asked = now
                self._asking = asyncio.create_task(self._look_around())

    async def _look_around(self) -> None:
        """At servers, at workers that nobody has asked yet, and at the ports of dllama workers, which do not notice."""
        session = self._session
        new = [record.endpoint for record in session.pool.records() if record.state is State.UNVERIFIED] if session.is_open("pool") else []
        looks: list[Coroutine[object, object, object]] = [session.nodes.refresh(max_age=FRESH)]
        if new:
            looks.append(session.pool.check(new))
        if session.settings.now.dllama_backends or session.is_open("dllama"):
            looks.append(session.know_dllama().check())
        await asyncio.gather(*looks)

    def _rate(self, now: float) -> float:
        """Tokens per second since the last point: also of answers that began and ended between two."""
        tokens, (at, before) = self._activity.tokens, self._counted
        self._counted = (now, tokens)
        return round((tokens - before) / (now - at), 2) if now > at else 0.0

    def _sample(self, now: float) -> Sample:
        here, session = self._here, self._session
        known = splits(session, self._links)
        links = [link for each in known for link in each.links]
        records = session.pool.records() if session.is_open("pool") else []
        return Sample(
            round(now, 3),
            self._rate(now),
            len(self._activity.running),
            sum(record.health == "ready" for record in records),
            here.cpu_percent,
            here.total - here.free if here.total and here.free is not None else None,
            sum(share.model_bytes + share.kv_bytes + share.compute_bytes for each in known for share in each.shares),
            sum(link.sent_per_second for link in links) if links else None,
            sum(link.received_per_second for link in links) if links else None,
        )
