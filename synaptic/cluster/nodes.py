"""
The servers that have models of their own, and how each fares: Ollama nodes, llama-server, vLLM, dllama-api.

Each is asked by itself, with a deadline of its own. One that failed rests, for longer each time: meanwhile nobody
waits for it, and looking whether it is back is done beside the others' answers. The same goes for one whose answers
break off although it is there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from synaptic.cluster.backend import Kind
from synaptic.cluster.node import Node, NodeState
from synaptic.cluster.node_record import Record
from synaptic.cluster.serving import Serving
from synaptic.errors import EngineError, RefusedError
from synaptic.events import Bus, NodeActivity
from synaptic.models.model import Offer
from synaptic.terminal import one_line

__all__ = ["WITHIN", "Node", "NodeState", "Nodes", "Serving"]
WITHIN = 1.5  # seconds for one look
_AT_ONCE = 32


class Nodes:
    """`known` is asked at every turn; `keys` are the variables that hold API keys. `clock` runs steadily, `wall` tells the time."""

    def __init__(
        self,
        known: Callable[[], Sequence[Node]],
        bus: Bus,
        *,
        keys: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._known = known
        self._bus = bus
        self._keys = keys
        self._clock = clock
        self._wall = wall
        self._records: dict[str, Record] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def states(self) -> list[NodeState]:
        """What is known now; no network."""
        return [record.state() for record in self._current().values()]

    def offers(self) -> list[Offer]:
        """What the nodes said they have, also those that do not answer now."""
        return [offer for state in self.states() for offer in state.offers]

    def state(self, url: str) -> NodeState | None:
        record = self._current().get(url)
        return record.state() if record else None

    def key(self, url: str) -> str | None:
        record = self._current().get(url)
        variable = record.node.key_variable if record else None
        return self._keys.get(variable) or None if variable else None

    async def refresh(self, *, max_age: float = 0.0, within: float = WITHIN) -> list[NodeState]:
        """
        Look at all of them, in parallel; answers younger than `max_age` seconds are kept. Never raises for what a node does.

        With a `max_age`, one that failed when last asked is not waited for: it rests, or is looked at meanwhile.
        """
        awaited = [self._look_at(record, within) for record in self._due(max_age)]
        if awaited:
            await asyncio.wait(awaited)
        return self.states()

    async def refresh_these(self, urls: Iterable[str], *, within: float = WITHIN) -> list[NodeState]:
        """Look at these of the known ones now, resting or not."""
        records = [record for url in urls if (record := self._current().get(url))]
        if awaited := [self._look_at(record, within) for record in records]:
            await asyncio.wait(awaited)
        return [record.state() for record in records]

    def forgive(self) -> None:
        """Let every rest be over."""
        for record in self._records.values():
            record.reach.forgive()
            record.work.forgive()

    @asynccontextmanager
    async def serving(self, url: str, model: str = "") -> AsyncIterator[Serving]:
        """
        A request is at this node as long as this lasts. Learns from `done`, and from an error: a RefusedError proves that the
        node is well, another one opens the circuit; being cut off by us teaches nothing. Raises EngineError while the node rests.
        """
        record = self._current().get(url) or self._records.setdefault(url, Record(Node(url, Kind.OPENAI), self._clock, self._wall))
        if not record.work.lets_in:
            raise EngineError(f"{url} failed, and is left alone for {record.work.rest:.0f} s", hint="try: nodes health")
        serving, is_trial = Serving(), not record.work.is_closed
        record.work.begin()
        record.running += 1
        self._tell(record, "request", model)
        try:
            yield serving
        except RefusedError as error:
            record.work.succeeded()
            self._tell(record, "failure", model, str(error))
            raise
        except Exception as error:
            self._failed(record, model, error)
            raise
        else:
            self._served(record, model, serving)
        finally:
            record.running -= 1
            if is_trial:
                record.work.gave_up()

    async def close(self) -> None:
        tasks = list(self._looking.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _current(self) -> dict[str, Record]:
        """The records of exactly those that are known; one that is forgotten while it serves is kept aside until it is known again."""
        current: dict[str, Record] = {}
        for node in self._known():
            if node.url in current:
                continue
            record = self._records.get(node.url) or Record(node, self._clock, self._wall)
            record.named(node)
            current[node.url] = record
        self._records = current | {url: record for url, record in self._records.items() if url not in current and record.running}
        return current

    def _due(self, max_age: float) -> list[Record]:
        """Those to wait for. Those whose rest is over are looked at without waiting."""
        due = []
        for record in self._current().values():
            works = record.running and record.state().load is None  # for us: it needs no look, unless it tells of others' requests
            if record.is_younger_than(max_age) or (max_age and works):
                continue
            if max_age and not record.reach.is_closed:
                if record.reach.lets_in:
                    self._look_at(record, WITHIN)
                continue
            due.append(record)
        return due

    def _look_at(self, record: Record, within: float) -> asyncio.Task[None]:
        url = record.node.url
        if url not in self._looking:
            record.reach.begin()
            self._looking[url] = task = asyncio.create_task(self._look(record, within))
            task.add_done_callback(lambda _: self._looking.pop(url, None))
        return self._looking[url]

    async def _look(self, record: Record, within: float) -> None:
        from synaptic.cluster.asking import Heard, look  # at its door: what is known is asked for at every keystroke

        async with self._slots:
            heard = await look(record.node.url, record.node.kind, key=self.key(record.node.url), within=within)
        before = record.state()
        if isinstance(heard, Heard):
            record.heard(heard)
        elif heard.was_silent and record.running:  # dllama-api serves one request at a time
            record.reach.gave_up()
        else:
            record.unheard(heard)
        self._tell_change(record, before)

    def _failed(self, record: Record, model: str, error: Exception) -> None:
        before = record.state()
        record.failed(one_line(str(error)))
        self._tell(record, "failure", model, str(error))
        self._tell_change(record, before)

    def _served(self, record: Record, model: str, serving: Serving) -> None:
        if serving.tokens is None:
            return
        before = record.state()
        record.served(serving)
        self._tell(record, "answer", model, serving.summary)
        self._tell_change(record, before)

    def _tell(self, record: Record, what: str, model: str = "", detail: str = "") -> None:
        self._bus.publish(NodeActivity(node=record.node.url, what=what, model=model, detail=one_line(detail)))

    def _tell_change(self, record: Record, before: NodeState) -> None:
        after = record.state()
        if (before.state, before.health) != (after.state, after.health):
            self._tell(record, "state", detail=f"{after.health}: {after.detail}" if after.detail else after.health)
