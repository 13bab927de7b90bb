"""The rooms for distributed-llama: its workers, dllama-api, and the root of our own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from synaptic.environment import Environment
from synaptic.events import Bus
from synaptic.settings import Settings

if TYPE_CHECKING:
    from synaptic.cluster.backend import Backend
    from synaptic.cluster.dllama_workers import DllamaWorkers
    from synaptic.engines.builtin import Roots
    from synaptic.engines.dllama_routes import DllamaRoutes
    from synaptic.engines.dllama_speeds import DllamaSpeeds
    from synaptic.models.catalog import Catalog
    from synaptic.planning.machine import Machine
    from synaptic.process.child import Patience
    from synaptic.process.dllama_apis import DllamaApis, Tuning
    from synaptic.process.install import Engines
    from synaptic.process.workers import Workers


class DllamaServices:
    """Part of the services; what it leans on is declared here and made there."""

    environment: Environment
    settings: Settings
    bus: Bus
    if TYPE_CHECKING:

        @property
        def engines(self) -> Engines: ...
        @property
        def catalog(self) -> Catalog: ...
        @property
        def workers(self) -> Workers: ...
        @property
        def logs(self) -> Path: ...
        def machines(self, workers: Sequence[Backend]) -> tuple[Machine, list[Machine]]: ...
        def _state(self, name: str) -> Path | None: ...
        def _tuning(self) -> tuple[Patience, int | None]: ...

    @cached_property
    def dllama(self) -> DllamaWorkers:
        from synaptic.cluster.dllama_workers import DllamaWorkers
        from synaptic.discovery.dllama_look import look

        return DllamaWorkers(self.bus, look)

    @cached_property
    def dllama_apis(self) -> DllamaApis:
        from synaptic.process.dllama_apis import DllamaApis

        return DllamaApis(
            self.engines,
            self.dllama,
            self.bus,
            logs=self.logs,
            variables=self.environment.variables,
            tuning=self._dllama_tuning,
            state=self._state("dllama"),
        )

    @cached_property
    def dllama_routes(self) -> DllamaRoutes:
        from synaptic.engines.dllama_routes import DllamaRoutes

        return DllamaRoutes(
            self.catalog,
            self.dllama_apis,
            lambda: self.settings.now,
            self.bus,
            known=self.know_dllama,
            free=lambda: self.machines(())[0].free,
            roots=self.roots,
            has_api=lambda: self.engines.find("dllama-api") is not None,
            machines=self.dllama_speeds.machines,
        )

    @cached_property
    def roots(self) -> Roots:
        from synaptic.engines.builtin import Roots

        free, speeds = lambda: self.machines(())[0].free, self.dllama_speeds
        return Roots(lambda: self.settings.now, self.know_dllama, self.bus, free=free, speeds=speeds)

    @cached_property
    def dllama_speeds(self) -> DllamaSpeeds:
        from synaptic.discovery.here import dllama_machines_now
        from synaptic.engines.dllama_speeds import DllamaSpeeds
        from synaptic.planning.speeds import Speeds

        speeds = Speeds(self._state("dllama-speeds.json"))
        return DllamaSpeeds(speeds, lambda workers: dllama_machines_now(workers, speeds))

    def know_dllama(self) -> DllamaWorkers:
        """The dllama workers, knowing every configured one, and every one that runs on this machine."""
        from synaptic.process.worker_command import BUILTIN

        sources = dict.fromkeys(self.settings.now.dllama_backends, "configured")
        for worker in self.workers.of(BUILTIN):
            sources.setdefault(worker.endpoint, "local")
        self.dllama.set_known(sources.items())
        return self.dllama

    def _dllama_tuning(self) -> Tuning:
        from synaptic.process.dllama_apis import Tuning

        now, (patience, threads) = self.settings.now, self._tuning()
        return Tuning(patience, threads, now.temperature, now.seed)
