"""One model that the built-in root runs: what it tells of itself, heard in the loop, and what others may know of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from synaptic.cluster.dllama_workers import DllamaWorkers
from synaptic.endpoint import Endpoint
from synaptic.engines.attempt import Overcome
from synaptic.engines.root_events import RootAnswered
from synaptic.engines.root_figures import PassFigures
from synaptic.engines.running_root import HERE, Held, Rooted, RunningRoot
from synaptic.events import Bus, Noticed, Work
from synaptic.results import plural

if TYPE_CHECKING:
    from synaptic.dllama import running
    from synaptic.dllama.generate import Generator


class Root:
    """`generator`: set before it is used. Of the loop, but for `tell`."""

    generator: Generator

    def __init__(self, rooted: Rooted, workers: DllamaWorkers, bus: Bus) -> None:
        self.rooted = rooted
        self.is_stopping = self.is_lost = False
        self.work: Work | None = None  # while it loads
        self.last: RootAnswered | None = None
        self._workers = workers
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._state = "starting"
        self._generating = 0
        self._left = rooted.plan.workers
        self._held: tuple[Held, ...] = ()
        self._turns = ""
        self._losses: list[tuple[running.Lost, float]] = []  # while it is being spread again, and since when
        self.overcame: list[Overcome] = []
        self._told_of: set[str] = set()  # workers that read their own files
        self._figures = PassFigures(rooted.plan.model.name, rooted.split)

    @property
    def owner(self) -> str:
        """As which it holds its workers."""
        return f"the built-in root of {self.rooted.plan.model.name}"

    @property
    def seen(self) -> RunningRoot:
        plan, split, storage = self.rooted.plan, self.rooted.split, self.last.storage if self.last else None
        return RunningRoot(plan, split, self._state, self._generating, self._left, self._held, storage.said if storage else self._turns)

    def tell(self, fact: running.Fact) -> None:
        """Called in the root's thread."""
        self._loop.call_soon_threadsafe(self._hear, fact)

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Answers that overlap are counted together: they take turns."""
        if not self._generating:
            self._figures.begin()
        self._generating += 1
        try:
            yield
        finally:
            self._generating -= 1
            if not self._generating:
                self._sum_up()

    def _sum_up(self) -> None:
        for event in self._figures.end():
            self._bus.publish(event)
            self.last = event if isinstance(event, RootAnswered) else self.last

    def _hear(self, fact: running.Fact) -> None:
        from synaptic.dllama import running

        match fact:
            case running.Loading() if self.work:
                self.work.update(done=fact.done, total=fact.total, unit="bytes")
            case running.Pass():
                for event in self._figures.add(fact, self._loop.time()):
                    self._bus.publish(event)
            case running.Cached():
                self._figures.read(fact)
            case running.Placed():
                self._figures.session_began()
                self._held, self._state = tuple(map(_held, fact.nodes)), "ready"
                self._turns = f"{plural(fact.turns, 'layer')} read from the file in turn, for every token" if fact.turns else ""
                self._count_losses()
                self._tell_of_files()
            case running.Lost():
                self._lose(fact)

    def _tell_of_files(self) -> None:
        if holding := [each.node for each in self._held if each.from_file and each.node not in self._told_of]:
            self._told_of.update(holding)
            verb = "reads" if len(holding) == 1 else "read"
            name = self.rooted.plan.model.name
            self._bus.publish(Noticed(text=f"{', '.join(holding)} {verb} {name} from a file there; no weights are sent"))

    def _lose(self, fact: running.Lost) -> None:
        """Of a worker that is known, whoever shows what becomes of workers tells it. It may come back, and is free then."""
        lost, others = Endpoint.parse(fact.worker), tuple(map(Endpoint.parse, fact.others))
        why = f"it {fact.why}; its layers go to {', '.join(fact.others)}"
        for each in self._left:
            if each not in others:  # nor may there be a share for every other
                self._workers.release(self.owner, each)
        if self._workers.record(lost):
            self._workers.witness(lost, is_open=False, detail=why)
        else:  # one of this machine, that ended, is known no more
            self._bus.publish(Noticed(text=f"worker {lost} is lost: {why}", attention=True))
        self._left = others
        self._state = "starting"
        self._losses.append((fact, self._loop.time()))

    def _count_losses(self) -> None:
        plan, now = dataclasses.replace(self.rooted.plan, workers=self._left), self._loop.time()
        self.overcame += [
            Overcome((lost.worker,), f"worker {lost.worker} {lost.why}", now - since, since, plan) for lost, since in self._losses
        ]
        self._losses.clear()


def _held(node: running.Node) -> Held:
    return Held(node.worker or HERE, node.first, node.last, node.weights, node.cache, node.holds)
