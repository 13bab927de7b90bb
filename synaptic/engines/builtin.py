"""
The built-in root: runs distributed-llama models from here, over dllama workers or on this machine, with nothing compiled.

One root per model. It goes on by itself when a worker is lost, so an answer of its breaks off only when nobody is left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.dllama_workers import DllamaWorkers
from synaptic.dllama.header import NotAModelError, read_header
from synaptic.engines.dllama_speeds import DllamaSpeeds
from synaptic.engines.engine import LostError
from synaptic.engines.root import Root
from synaptic.engines.root_events import RootAnswered
from synaptic.engines.running_root import Rooted, RunningRoot
from synaptic.errors import EngineError
from synaptic.events import Bus, Noticed
from synaptic.models.dllama_tokenizer import tokenizer_of
from synaptic.models.model import file_of
from synaptic.planning.dllama_plan import LAYERS
from synaptic.settings.values import Values

if TYPE_CHECKING:
    from synaptic.dllama.generate import Generator
    from synaptic.dllama.spreading import Spreading

MEMORY_SHARE = 0.8  # of what is free here; a model that needs more is read from its file again and again


class Roots:
    """
    The built-in roots of this session. `free()` gives the bytes of memory that this machine has now, if known.

    `speeds` None: workers are measured at every start.
    """

    def __init__(
        self,
        values: Callable[[], Values],
        workers: Callable[[], DllamaWorkers],
        bus: Bus,
        *,
        free: Callable[[], int | None],
        speeds: DllamaSpeeds | None = None,
    ) -> None:
        self.bus = bus
        self.last: RootAnswered | None = None
        self._values = values
        self._workers = workers
        self._free = free
        self._speeds = speeds
        self._roots: dict[str, Root] = {}
        self._choosing = asyncio.Lock()

    def models(self) -> list[str]:
        """Whose roots are loaded, or on their way."""
        return list(self._roots)

    def all(self) -> list[RunningRoot]:
        return [root.seen for root in self._roots.values()]

    def of(self, model: str) -> Rooted | None:
        """What runs of this model."""
        found = self._roots.get(model)
        return found.rooted if found and not found.is_lost else None

    async def ensure(self, wanted: Rooted) -> Root:
        """The root of exactly this, loaded. Another one of the model, or on its workers, ends first. EngineError, BackendError."""
        name = wanted.plan.model.name
        async with self._choosing:
            known = self._roots.get(name)
            if known and known.rooted == wanted and not known.is_lost:
                return known
            await self._make_room(wanted)
            root = self._roots[name] = Root(wanted, self._workers(), self.bus)
            try:
                with translated(name), self.bus.work(f"{name} loading") as root.work:
                    await self._start(root)
            except BaseException:
                await self._stop(name)
                raise
            root.work = None
            return root

    async def stop(self, model: str | None = None) -> list[str]:
        """One, or all; the names of those that ran. Their answers break off."""
        names = [name for name in self._roots if model in (None, name)]
        for name in names:
            await self._stop(name)
        return names

    async def _start(self, root: Root) -> None:
        plan, workers = root.rooted.plan, self._workers()
        await workers.parking.lend(plan.workers)
        async with workers.asking:  # one that is being proved is away for a moment
            workers.hold(plan.workers, root.owner)
        layers = await self._layers(root.rooted, root.work.update if root.work else lambda _: None)
        root.generator = await asyncio.to_thread(self._made, root, layers)
        await root.generator.ensure_ready()

    async def _layers(self, wanted: Rooted, tell: Callable[[str], None]) -> tuple[int, ...]:
        if wanted.split != LAYERS or wanted.layers or self._speeds is None:
            return wanted.layers
        header = await asyncio.to_thread(read_header, file_of(wanted.plan.model))
        workers = [Backend(each, Kind.DLLAMA, State.IN_USE) for each in wanted.plan.workers]
        layers = await self._speeds.layers(wanted.plan, header, workers, tell)
        tell(f"{wanted.plan.model.name} loading")
        return layers

    async def _make_room(self, wanted: Rooted) -> None:
        """A worker serves one root at a time, and refuses every other."""
        for name, other in list(self._roots.items()):
            is_same = name == wanted.plan.model.name
            if not is_same and not set(other.rooted.plan.workers) & set(wanted.plan.workers):
                continue
            if other.seen.is_busy and not is_same:
                raise EngineError(f"{name} is answering on these workers", hint="wait for it, or press Ctrl-C there")
            if not is_same:
                self.bus.publish(Noticed(text=f"stopping {name} to free its workers"))
            await self._stop(name)

    async def _stop(self, name: str) -> None:
        if root := self._roots.pop(name, None):
            root.is_stopping = True
            plan, workers = root.rooted.plan, self._workers()
            try:
                if hasattr(root, "generator"):
                    await root.generator.aclose()
            finally:
                workers.release(root.owner)
            workers.served(() if root.is_lost else root.seen.workers)
            await workers.parking.take_back(plan.workers)

    def _made(self, root: Root, layers: tuple[int, ...]) -> Generator:
        """Reads the files' heads."""
        plan = root.rooted.plan
        model = file_of(plan.model)
        tokenizer = tokenizer_of(model)
        try:
            from synaptic.dllama.generate import Generator
        except ImportError as error:
            hint = "try: engine install builtin"
            raise EngineError(f"the built-in engine needs {error.name or 'numpy'}, which is not installed", hint=hint) from error
        with translated(plan.model.name):
            return Generator(model, tokenizer, self._spreading(root.rooted, layers), tell=root.tell)

    def _spreading(self, wanted: Rooted, layers: tuple[int, ...]) -> Spreading:
        from synaptic.dllama.spreading import Split, Spreading
        from synaptic.dllama.wire import Peer

        peers = tuple(Peer(worker.host, worker.port) for worker in wanted.plan.workers)
        free = self._free()
        memory = wanted.memory or (int(free * MEMORY_SHARE) if free is not None else None) if not peers else None
        threads = self._values().threads or 1
        return Spreading(peers, Split(wanted.split), layers=layers or None, memory=memory, context=wanted.plan.context, threads=threads)


@contextlib.contextmanager
def translated(model: str) -> Iterator[None]:
    """Errors of the cellar, which knows nothing above it, in ours. Their texts follow the model's name."""
    try:
        yield
    except ConnectionError as error:
        worker = getattr(error, "worker", None)
        lost = (f"{worker.host}:{worker.port}",) if worker else ()
        raise LostError(f"{model}: {error}", lost=lost, hint="try: dllama check") from error
    except NotAModelError as error:
        raise EngineError(f"{model} {error}", hint="try: model list") from error
    except (ValueError, OSError) as error:
        raise EngineError(f"{model} {error}", hint=f"try: model show {model}") from error
