"""
The built-in root: runs distributed-llama models from here, over dllama workers or on this machine, with nothing compiled.

One root per model. It goes on by itself when a worker is lost, so an answer of its breaks off only when nobody is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from synaptic.cluster.dllama_workers import DllamaWorkers
from synaptic.engines.engine import Chunk, LostError, Request, Timings, Usage
from synaptic.errors import EngineError
from synaptic.events import Bus, Noticed, Work
from synaptic.models.dllama_tokenizer import tokenizer_of
from synaptic.models.model import file_of
from synaptic.planning.plan import Plan
from synaptic.settings import Values

if TYPE_CHECKING:
    from synaptic.dllama.answer import Sampling
    from synaptic.dllama.generate import Generator
    from synaptic.dllama.spreading import Spreading

TENSOR, LAYERS, NONE = "tensor", "layers", "none"  # how a model is cut
MEMORY_SHARE = 0.8  # of what is free here; a model that needs more is read from its file again and again


@dataclasses.dataclass(frozen=True)
class Rooted:
    """A plan, and how it is cut."""

    plan: Plan
    split: str
    memory: int | None = None  # bytes, on this machine alone; None: what is free


class Roots:
    """The built-in roots of this session. `free()` gives the bytes of memory that this machine has now, if known."""

    def __init__(
        self, values: Callable[[], Values], workers: Callable[[], DllamaWorkers], bus: Bus, *, free: Callable[[], int | None]
    ) -> None:
        self.bus = bus
        self._values = values
        self._workers = workers
        self._free = free
        self._running: dict[str, tuple[Rooted, Generator]] = {}
        self._choosing = asyncio.Lock()
        self._work: Work | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def models(self) -> list[str]:
        """Whose roots are loaded."""
        return list(self._running)

    def of(self, model: str) -> Rooted | None:
        """What runs of this model."""
        found = self._running.get(model)
        return found[0] if found else None

    async def ensure(self, wanted: Rooted) -> Generator:
        """The root of exactly this, loaded. Another one of the model ends first. Raises EngineError."""
        name = wanted.plan.model.name
        async with self._choosing:
            known = self._running.get(name)
            if known and known[0] == wanted:
                return known[1]
            await self._stop(name)
            self._loop = asyncio.get_running_loop()
            generator = await asyncio.to_thread(self._made, wanted)
            self._workers().hold(wanted.plan.workers, _owner(name))
            self._running[name] = (wanted, generator)
            try:
                with self.bus.work(f"{name} loading") as self._work, translated(name):
                    await generator.ensure_ready()
            except BaseException:
                await self._stop(name)
                raise
            return generator

    async def stop(self, model: str | None = None) -> list[str]:
        """One, or all; the names of those that ran."""
        names = [name for name in self._running if model in (None, name)]
        for name in names:
            await self._stop(name)
        return names

    async def _stop(self, name: str) -> None:
        if known := self._running.pop(name, None):
            await known[1].aclose()
            self._workers().release(_owner(name))
            self._workers().served(known[0].plan.workers)

    def _made(self, wanted: Rooted) -> Generator:
        """Reads the files' heads."""
        model = file_of(wanted.plan.model)
        tokenizer = tokenizer_of(model)
        try:
            from synaptic.dllama.generate import Generator
        except ImportError as error:
            hint = "try: engine install builtin"
            raise EngineError(f"the built-in engine needs {error.name or 'numpy'}, which is not installed", hint=hint) from error
        with translated(wanted.plan.model.name):
            return Generator(model, tokenizer, self._spreading(wanted), tell=self._tell)

    def _spreading(self, wanted: Rooted) -> Spreading:
        from synaptic.dllama.spreading import Split, Spreading
        from synaptic.dllama.wire import Peer

        peers = tuple(Peer(worker.host, worker.port) for worker in wanted.plan.workers)
        free = self._free()
        memory = wanted.memory or (int(free * MEMORY_SHARE) if free is not None else None) if not peers else None
        threads = self._values().threads or 1
        return Spreading(peers, Split(wanted.split), memory=memory, context=wanted.plan.context, threads=threads)

    def _tell(self, fact: object) -> None:
        """Called in the root's thread."""
        assert self._loop
        self._loop.call_soon_threadsafe(self._hear, fact)

    def _hear(self, fact: object) -> None:
        from synaptic.dllama.running import Loading, Lost

        if isinstance(fact, Loading) and self._work:
            self._work.update(done=fact.done, total=fact.total, unit="bytes")
        elif isinstance(fact, Lost):
            others = ", ".join(fact.others) or "this machine"
            self.bus.publish(Noticed(text=f"worker {fact.worker} was lost: it {fact.why}; going on with {others}"))


class ByRoot:
    """An answer of a built-in root."""

    def __init__(self, rooted: Rooted, roots: Roots) -> None:
        self.load_seconds: float | None = None
        self._rooted = rooted
        self._roots = roots

    async def chunks(self, request: Request, written: Sequence[Chunk]) -> AsyncGenerator[Chunk, None]:
        assert not written  # it goes on by itself
        from synaptic.dllama.chat import Message

        began = time.monotonic()
        generator = await self._roots.ensure(self._rooted)
        self.load_seconds = time.monotonic() - began
        messages = [Message(each.role, each.content) for each in request.messages]
        clock = _Clock()
        with translated(self._rooted.plan.model.name):
            async with contextlib.aclosing(generator.generate(messages, _sampling(request))) as pieces:
                async for piece in pieces:
                    clock.count(len(piece.ids), piece.text)
                    if piece.text:
                        yield Chunk(text=piece.text, tokens=len(piece.ids))
                    if piece.finish:
                        usage = Usage(piece.prompt_tokens, clock.tokens, piece.cached)
                        yield Chunk(finish_reason=piece.finish, usage=usage, timings=clock.timings())

    async def is_worth_another(self) -> bool:
        return False

    async def explained(self, error: EngineError, *, kept: bool) -> EngineError:
        stays = "; what was written so far stays" if kept else ""
        return type(error)(f"{error}{stays}", hint=error.hint) if type(error) is EngineError else error


class _Clock:
    """What an answer took."""

    def __init__(self) -> None:
        self.tokens = 0
        self._began = time.monotonic()
        self._first: float | None = None
        self._last = self._began

    def count(self, tokens: int, text: str) -> None:
        self.tokens += tokens
        self._last = time.monotonic()
        if text and self._first is None:
            self._first = self._last

    def timings(self) -> Timings:
        first = self._first if self._first is not None else self._last
        decoding = self._last - first
        rate = round((self.tokens - 1) / decoding, 2) if decoding > 0 and self.tokens > 1 else None
        return Timings(round((first - self._began) * 1000, 1), rate, round((self._last - self._began) * 1000, 1))


@contextlib.contextmanager
def translated(model: str) -> Iterator[None]:
    """Errors of the cellar, which knows nothing above it, in ours. Their texts follow the model's name."""
    try:
        yield
    except ConnectionError as error:
        worker = getattr(error, "worker", None)
        lost = (f"{worker.host}:{worker.port}",) if worker else ()
        raise LostError(f"{model}: {error}", lost=lost, hint="try: dllama check") from error
    except (ValueError, OSError) as error:
        raise EngineError(f"{model} {error}", hint=f"try: model show {model}") from error


def _sampling(request: Request) -> Sampling:
    from synaptic.dllama.answer import Sampling

    usual = Sampling()
    temperature = usual.temperature if request.temperature is None else request.temperature
    return Sampling(temperature, usual.top_p, usual.seed if request.seed is None else request.seed, request.max_tokens)


def _owner(model: str) -> str:
    return f"the built-in root of {model}"
