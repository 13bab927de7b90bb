"""
What a running program holds together, and how it ends. No verbs.

Rooms are opened at their door: a service is imported and made when it is first asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from synaptic import shipped
from synaptic.endpoint import Endpoint
from synaptic.environment import Environment
from synaptic.errors import UsageError
from synaptic.events import Bus, Event, GenerationFinished, GenerationProgressed, Noticed, SettingChanged
from synaptic.settings import Settings

if TYPE_CHECKING:
    from synaptic.cluster.pool import Pool
    from synaptic.discovery.presence import Presence
    from synaptic.discovery.rounds import Rounds
    from synaptic.engines.answer import Answering
    from synaptic.engines.conversation import Conversation
    from synaptic.models.catalog import Catalog
    from synaptic.process.child import Patience
    from synaptic.process.coordinators import Coordinators
    from synaptic.process.install import Engines
    from synaptic.process.protocol import LocalProtocol
    from synaptic.process.workers import Workers

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The state of this moment, for a toolbar or a banner. Asking costs nothing."""

    distributed: bool
    known: int
    ready: int
    lost: int
    model: str | None
    coordinator: str | None = None  # "llama.cpp :18080"
    coordinator_state: str | None = None
    tokens_per_second: float | None = None


async def cannot_ask(question: str) -> bool:
    raise UsageError(f"{question} there is nobody to ask", hint="add --yes")


class Session:
    def __init__(self, environment: Environment, settings: Settings, confirm: Callable[[str], Awaitable[bool]] = cannot_ask) -> None:
        self.environment = environment
        self.settings = settings
        self.confirm = confirm
        self._is_closed = False
        self.is_shell = False  # what a shell starts ends with it; what one command starts may stay
        self.bus = Bus()
        self._speed: float | None = None
        self.bus.tap(self._hear)

    @cached_property
    def engines(self) -> Engines:
        from synaptic.process.install import Engines

        return Engines(self.environment)

    @cached_property
    def catalog(self) -> Catalog:
        from synaptic.models.catalog import Catalog

        return Catalog(lambda: self.settings.now.models_dirs, shipped.shipped("demo", "demo-q4_0.gguf"))

    @cached_property
    def pool(self) -> Pool:
        from synaptic.cluster.backend import Backend
        from synaptic.cluster.handshake import Foreign, Version, shake
        from synaptic.cluster.pool import Pool

        async def shake_as_we_speak(endpoint: Endpoint, *, within: float, speaks: Version | None) -> Backend | Foreign:
            return await shake(endpoint, within=within, speaks=await self.protocol())

        return Pool(self.bus, shake=shake_as_we_speak)

    @cached_property
    def protocol(self) -> LocalProtocol:
        from synaptic.process.protocol import LocalProtocol

        return LocalProtocol(self.engines, self.environment.cache_dir, self.environment.variables)

    @cached_property
    def rounds(self) -> Rounds:
        from synaptic.discovery.rounds import rounds

        return rounds(self.pool)

    @cached_property
    def workers(self) -> Workers:
        from synaptic.process.workers import Workers

        state = self.environment.state_dir
        return Workers(
            self.engines, self.bus, state=state / "workers" if state else None, logs=self.logs, variables=self.environment.variables
        )

    @cached_property
    def presence(self) -> Presence:
        from synaptic.discovery.presence import Presence

        return Presence(self.bus)

    @cached_property
    def coordinators(self) -> Coordinators:
        from synaptic.process.coordinators import Coordinators

        return Coordinators(self.engines, self.pool, self.bus, logs=self.logs, variables=self.environment.variables, tuning=self._tuning)

    @cached_property
    def answering(self) -> Answering:
        from synaptic.engines.answer import Answering

        return Answering(self.catalog, self.pool, self.coordinators, lambda: self.settings.now, self.bus)

    @cached_property
    def conversation(self) -> Conversation:
        from synaptic.engines.conversation import Conversation

        return Conversation()

    @property
    def logs(self) -> Path:
        """Where every process of ours writes; the temporary folder when there is no home."""
        import tempfile

        return (self.environment.state_dir or Path(tempfile.gettempdir())) / "logs"

    @property
    def running(self) -> list[str]:
        """The models whose coordinators are up."""
        return [each.plan.model.name for each in self.coordinators.up()] if "coordinators" in self.__dict__ else []

    def know_backends(self) -> Pool:
        """The pool, knowing every configured worker and every one that runs on this machine."""
        sources = dict.fromkeys(self.settings.now.rpc_backends, "configured")
        for worker in self.workers.all():
            sources.setdefault(worker.endpoint, "local")
        self.pool.set_known(sources.items())
        self._announce_soon()
        return self.pool

    def knows_model(self, name: str) -> bool:
        return self.catalog.knows(name)

    def snapshot(self) -> Snapshot:
        values = self.settings.now
        backends = self.pool.records() if "pool" in self.__dict__ else []
        up = self.coordinators.all() if "coordinators" in self.__dict__ else []
        newest = up[-1] if up else None
        return Snapshot(
            distributed=values.distributed_inference_enabled,
            known=len(backends),
            ready=sum(each.health == "ready" for each in backends),
            lost=sum(each.health == "lost" for each in backends),
            model=values.model,
            coordinator=f"llama.cpp :{newest.port}" if newest and newest.port else ("llama.cpp" if newest else None),
            coordinator_state=newest.state.value if newest else None,
            tokens_per_second=self._speed,
        )

    async def save(self, **changes: object) -> None:
        """Change settings, in the file and here."""
        await self._change(lambda: self.settings.save(**changes))
        for key, value in changes.items():
            self.bus.publish(SettingChanged(key=key, value=value))

    async def add_backends(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        added = await self._change(lambda: self.settings.add_backends(endpoints))
        self.bus.publish(SettingChanged(key="rpc_backends", value=self.settings.now.rpc_backends))
        self.know_backends()
        return added

    async def remove_backends(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        removed = await self._change(lambda: self.settings.remove_backends(endpoints))
        self.bus.publish(SettingChanged(key="rpc_backends", value=self.settings.now.rpc_backends))
        self.know_backends()
        return removed

    async def close(self, *, keep: bool = False) -> None:
        """Stop what this session started, coordinators before their workers; or leave it all running. Once only."""
        if self._is_closed:
            return
        self._is_closed = True
        opened = self.__dict__
        async with contextlib.AsyncExitStack() as last_first:  # every step is taken, whatever happens in another
            if "workers" in opened:
                last_first.push_async_callback(self._end_workers, keep=keep)
            if "coordinators" in opened and keep:
                last_first.callback(self.coordinators.let_go)
            elif "coordinators" in opened:
                last_first.push_async_callback(self.coordinators.stop)
            if "presence" in opened:
                last_first.push_async_callback(self.presence.close)
            if "rounds" in opened:
                last_first.push_async_callback(self.rounds.stop)

    async def _end_workers(self, *, keep: bool) -> None:
        if not keep:
            await self.workers.stop(self.workers.ending_with_us())
        self.workers.let_go()

    async def _change(self, change: Callable[[], T]) -> T:
        """Run a save beside the loop; what it warns of is told at once."""
        told = len(self.settings.warnings)
        try:
            return await asyncio.to_thread(change)
        finally:
            for sentence in self.settings.warnings[told:]:
                self.bus.publish(Noticed(text=sentence, attention=True))

    def _announce_soon(self) -> None:
        """What one command starts outlives it unsupervised: only a shell announces."""
        if "presence" in self.__dict__ or (self.is_shell and self.settings.now.announce):
            told = self.workers.all() if self.settings.now.announce else []
            self.presence.want([worker.endpoint for worker in told])

    def _tuning(self) -> tuple[Patience, int | None]:
        from synaptic.process.child import Patience

        return Patience(start=self.settings.now.start_seconds), self.settings.now.threads

    def _hear(self, event: Event) -> None:
        if isinstance(event, GenerationProgressed | GenerationFinished):
            self._speed = event.tokens_per_second or self._speed
        if isinstance(event, SettingChanged) and event.key == "announce":
            self._announce_soon()
