"""
What a running program holds together, and how it ends. No verbs.

The rooms themselves are in services.py; here they are kept in step with the settings, and closed in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from synaptic.endpoint import Endpoint
from synaptic.environment import Environment
from synaptic.errors import SynapticError
from synaptic.events import Event, GenerationFinished, GenerationProgressed, Noticed, SettingChanged
from synaptic.models.model import BUILTIN, DLLAMA
from synaptic.services import Services, cannot_ask
from synaptic.settings import Settings

if TYPE_CHECKING:
    from synaptic.cluster.dllama_workers import DllamaWorkers
    from synaptic.cluster.pool import Pool
    from synaptic.process.coordinator import Coordinator
    from synaptic.process.dllama_api import DllamaCoordinator
    from synaptic.settings.origins import Origin
    from synaptic.settings.text import Document

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
    coordinator_model: str | None = None
    tokens_per_second: float | None = None


class Session(Services):
    def __init__(self, environment: Environment, settings: Settings, confirm: Callable[[str], Awaitable[bool]] = cannot_ask) -> None:
        super().__init__(environment, settings, confirm)
        self._is_closed = False
        self._speed: float | None = None
        self.bus.tap(self._hear)

    @property
    def running(self) -> list[str]:
        """The models whose coordinators are up and end with us."""
        return [each.plan.model.name for each in self.coordinators.ours()] if self.is_open("coordinators") else []

    def know_backends(self) -> Pool:
        """The pool, knowing every configured worker, every one that runs on this machine, and which of them are held."""
        self.coordinators.look()
        self.post_mortems  # noqa: B018 - it listens from now on
        sources = self.settings.sources()
        for worker in self.workers.of():
            sources.setdefault(worker.endpoint, "local")
        self.pool.set_known(sources.items())
        self._tell_others()
        return self.pool

    def know_dllama(self) -> DllamaWorkers:
        found = super().know_dllama()
        self._tell_others()
        return found

    def all_coordinators(self) -> list[Coordinator | DllamaCoordinator]:
        """Of every engine; those of llama.cpp first."""
        others = self.dllama_apis.all() if self.is_open("dllama_apis") else []
        return [*self.coordinators.all(), *others] if self.is_open("coordinators") else [*others]

    def is_dllama(self, model: str | None) -> bool:
        """Whether dllama-api serves it."""
        return any(each.plan.model.name == model and each.engine == DLLAMA for each in self.all_coordinators())

    def knows_model(self, name: str) -> bool:
        return self.catalog.knows(name)

    def snapshot(self) -> Snapshot:
        values = self.settings.now
        pools = [*([self.pool] if self.is_open("pool") else []), *([self.dllama] if self.is_open("dllama") else [])]
        backends = [record for pool in pools for record in pool.records()]
        coordinator, state, model = self._newest()
        return Snapshot(
            distributed=values.distributed_inference_enabled,
            known=len(backends),
            ready=sum(each.health == "ready" for each in backends),
            lost=sum(each.health == "lost" for each in backends),
            model=values.model,
            coordinator=coordinator,
            coordinator_state=state,
            coordinator_model=model,
            tokens_per_second=self._speed,
        )

    def _newest(self) -> tuple[str, str, str] | tuple[None, None, None]:
        """Of the coordinators, else of the roots: its engine, state and model."""
        if up := self.all_coordinators():
            newest = up[-1]
            return f"{newest.engine}{f' :{newest.port}' if newest.port else ''}", newest.state.value, newest.plan.model.name
        if self.is_open("roots") and (roots := self.roots.all()):
            return BUILTIN, roots[-1].state, roots[-1].plan.model.name
        return None, None, None

    async def save(self, **changes: object) -> None:
        """Change settings, in the file and here."""
        await self._change(lambda: self.settings.save(**changes))
        for key, value in changes.items():
            self.bus.publish(SettingChanged(key=key, value=value))

    async def add_backends(self, endpoints: Sequence[Endpoint], told: Mapping[Endpoint, Origin] | None = None) -> list[Endpoint]:
        """`told`: where they were found, and what tells their machines again."""
        added = await self._change(lambda: self.settings.add_backends(endpoints, told))
        self.bus.publish(SettingChanged(key="rpc_backends", value=self.settings.now.rpc_backends))
        self.know_backends()
        return added

    async def remember(self, told: Mapping[Endpoint, Origin]) -> None:
        """Of saved workers, in the file; nothing else changes. A file that takes nothing costs only this."""
        with contextlib.suppress(SynapticError):
            await self._change(lambda: self.settings.note_origins(told))

    async def remove_backends(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        removed = await self._change(lambda: self.settings.remove_backends(endpoints))
        self.bus.publish(SettingChanged(key="rpc_backends", value=self.settings.now.rpc_backends))
        self.know_backends()
        return removed

    async def edit_nodes(self, edit: Callable[[Document], None]) -> None:
        """Change the servers in the settings, in the file and here (settings/nodes.py has the edits)."""
        await self._change(lambda: self.settings.edit(edit))
        self.bus.publish(SettingChanged(key="nodes", value=self.settings.now.nodes))

    async def edit_dllama(self, edit: Callable[[Document], None]) -> None:
        """Change the dllama workers in the settings, in the file and here (settings/dllama.py has the edits)."""
        await self._change(lambda: self.settings.edit(edit))
        self.bus.publish(SettingChanged(key="dllama_backends", value=self.settings.now.dllama_backends))
        self.know_dllama()

    async def close(self, *, keep: bool = False) -> None:
        """Stop what this session started, coordinators before their workers; or leave it all running. Once only."""
        if self._is_closed:
            return
        self._is_closed = True
        async with contextlib.AsyncExitStack() as last_first:  # every step is taken, whatever happens in another
            for name, end in self._ends(keep=keep):
                if self.is_open(name):
                    last_first.push_async_callback(end)
            if self.guard:
                last_first.push_async_callback(self.guard.close)
            if self.is_open("rounds"):
                last_first.push_async_callback(self.rounds.stop)
            for face in self.faces.values():
                last_first.push_async_callback(face.close)

    def _ends(self, *, keep: bool) -> Iterator[tuple[str, Callable[[], Awaitable[object]]]]:
        """Of the rooms that may be open; the last ends first."""
        yield "workers", lambda: self._end_workers(keep=keep)
        yield "post_mortems", lambda: self.post_mortems.close()
        yield "coordinators", lambda: self._end_coordinators(keep=keep)
        yield "dllama", lambda: self.dllama.parking.unpark()
        yield "roots", lambda: self.roots.stop()
        yield "dllama_apis", lambda: self.dllama_apis.stop()
        yield "presence", lambda: self.presence.close()
        yield "nodes", lambda: self.nodes.close()

    async def _end_coordinators(self, *, keep: bool) -> None:
        if keep:
            self.coordinators.let_go()
        else:
            await self.coordinators.close()

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

    def _tell_others(self) -> None:
        """What one command starts outlives it unsupervised: only a shell tells of it, and hears of others."""
        asked_for = self.is_shell and (self.settings.now.announce or self.environment.variables.get("CONSUL_HTTP_ADDR"))
        if self.is_open("presence") or asked_for:
            self.presence.look()

    def _hear(self, event: Event) -> None:
        if isinstance(event, GenerationProgressed | GenerationFinished):
            self._speed = event.tokens_per_second or self._speed
        if isinstance(event, SettingChanged) and event.key == "announce":
            self._tell_others()
