"""The rooms of a running program, opened at their door: each is imported and made when it is first asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from synaptic import shipped
from synaptic.endpoint import Endpoint
from synaptic.environment import Environment
from synaptic.errors import UsageError
from synaptic.events import Bus
from synaptic.services_dllama import DllamaServices
from synaptic.settings import Settings

if TYPE_CHECKING:
    from synaptic.cluster.backend import Backend
    from synaptic.cluster.nodes import Nodes
    from synaptic.cluster.pool import Pool
    from synaptic.discovery.moved import Whereabouts
    from synaptic.discovery.presence import Presence
    from synaptic.discovery.rounds import Rounds
    from synaptic.engines.answering import Answering
    from synaptic.engines.conversation import Conversation
    from synaptic.engines.guard import Guard
    from synaptic.models.catalog import Catalog
    from synaptic.planning.machine import Machine
    from synaptic.planning.predictions import Predictions
    from synaptic.planning.speeds import Speeds
    from synaptic.process.child import Patience
    from synaptic.process.coordinators import Coordinators
    from synaptic.process.install import Engines
    from synaptic.process.postmortem import PostMortems
    from synaptic.process.protocol import LocalProtocol
    from synaptic.process.relayed import Relayed
    from synaptic.process.workers import Workers


agreed: ContextVar[bool] = ContextVar("agreed", default=False)  # the line that runs here says yes to all that it is asked


async def cannot_ask(question: str) -> bool:
    if agreed.get():
        return True
    raise UsageError(f"{question} there is nobody to ask", hint="add --yes")


class Face(Protocol):
    """A server of ours over HTTP. The room it lives in lies above the commands: the program puts it into the session (cli.py)."""

    @property
    def url(self) -> str | None:
        """Where it listens now, for a person."""

    async def start(self, *, host: str, port: int) -> str:
        """Listen, on the next port if that one is taken; does nothing when it listens already. What a browser opens."""

    async def close(self) -> None: ...


class Services(DllamaServices):
    """`is_shell`: what a shell starts ends with it; what one command starts may stay."""

    def __init__(self, environment: Environment, settings: Settings, confirm: Callable[[str], Awaitable[bool]] = cannot_ask) -> None:
        self.environment = environment
        self.settings = settings
        self.confirm = confirm
        self.is_shell = False
        self.guard: Guard | None = None
        self.bus = Bus()
        self.faces: dict[str, Face] = {}
        self.gateway_key: str | None = None  # what a client of the gateway must show; None: nobody must
        self.most_slots = 1  # of a coordinator, where nobody said how many

    def is_open(self, room: str) -> bool:
        """Whether anybody asked for it yet: each opens at the first use, and to look at it must not open it."""
        return room in self.__dict__

    @cached_property
    def engines(self) -> Engines:
        from synaptic.process.install import Engines

        return Engines(self.environment)

    @cached_property
    def catalog(self) -> Catalog:
        from synaptic.models.catalog import Catalog
        from synaptic.models.ollama_store import stores

        return Catalog(
            self._model_folders,
            shipped.shipped("demo", "demo-q4_0.gguf"),
            offers=lambda: self.nodes.offers(),
            stores=lambda: stores(self.environment.variables, self.environment.home),
            links=self.environment.cache_dir / "ollama" if self.environment.cache_dir else None,
        )

    @cached_property
    def pool(self) -> Pool:
        from synaptic.cluster.handshake import Foreign, Version
        from synaptic.cluster.pool import Pool, in_use
        from synaptic.process.relay_tunnel import shake_behind

        async def shake_as_we_speak(endpoint: Endpoint, *, within: float, speaks: Version | None) -> Backend | Foreign:
            version = await self.protocol()
            self.coordinators.look()  # another program may have taken it meanwhile: a question would wait in its queue
            owner = self.pool.holder(endpoint)
            return in_use(endpoint, owner) if owner else await shake_behind(self._relayed(), endpoint, within=within, speaks=version)

        return Pool(self.bus, shake=shake_as_we_speak)

    @cached_property
    def nodes(self) -> Nodes:
        from synaptic.cluster.known_nodes import nodes

        return nodes(lambda: self.settings.now.nodes, self.bus, self.environment.variables)

    @cached_property
    def protocol(self) -> LocalProtocol:
        from synaptic.process.protocol import LocalProtocol

        return LocalProtocol(self.engines, self.environment.cache_dir, self.environment.variables)

    @cached_property
    def rounds(self) -> Rounds:
        from synaptic.discovery.rounds import rounds

        return rounds(self.pool, after=self.whereabouts.tell)

    @cached_property
    def whereabouts(self) -> Whereabouts:
        from synaptic.discovery.moved import Whereabouts

        return Whereabouts(self.bus, self.pool, self.settings.origins)

    @cached_property
    def workers(self) -> Workers:
        from synaptic.process.workers import Workers

        return Workers(self.engines, self.bus, state=self._state("workers"), logs=self.logs, variables=self.environment.variables)

    @cached_property
    def presence(self) -> Presence:
        from synaptic.discovery.presence import Presence

        return Presence(self.bus, self.pool, self._told_of, self.environment.variables, dllama=self.dllama)

    @cached_property
    def coordinators(self) -> Coordinators:
        from synaptic.process.coordinators import Coordinators

        return Coordinators(
            self.engines,
            self.pool,
            self.bus,
            logs=self.logs,
            variables=self.environment.variables,
            tuning=self._tuning,
            state=self._state("coordinators"),
            stays=lambda: self.is_shell,
            relayed=self._relayed,
        )

    @property
    def has_no_llama(self) -> bool:
        """Whether llama.cpp is not installed: then the built-in engine runs the shipped model."""
        return self.engines.find("llama-server") is None or self.engines.find("ggml-rpc-server") is None

    def _embedded(self, via: str | None) -> Path | None:
        """The shipped model in the form that needs nothing compiled, where it is to answer. Who wants llama.cpp is told what it lacks."""
        from synaptic.models.model import BUILTIN, DLLAMA

        is_meant = via in (BUILTIN, DLLAMA) or (via is None and self.has_no_llama)
        return shipped.shipped("demo", "demo-q40.m") if is_meant else None

    @cached_property
    def answering(self) -> Answering:
        from synaptic.engines.answering import Answering
        from synaptic.engines.guard import Guard

        answering = Answering(
            self.catalog,
            self.pool,
            self.nodes,
            self.coordinators,
            lambda: self.settings.now,
            self.bus,
            machines=self.machines,
            predictions=self.predictions,
            dllama=self.dllama_routes,
            embedded=self._embedded,
            confirm=lambda question: self.confirm(question),
            most_slots=lambda: self.most_slots,
        )
        if self.is_shell:  # what one command starts is gone before a guard would look
            self.guard = Guard(self.coordinators, self.bus, answering.recent)
            self.guard.start()
        return answering

    @cached_property
    def speeds(self) -> Speeds:
        from synaptic.planning.speeds import Speeds

        return Speeds(self._state("speeds.json"))

    @cached_property
    def predictions(self) -> Predictions:
        from synaptic.planning.predictions import Predictions

        return Predictions(self._state("predictions.jsonl"))

    def machines(self, workers: Sequence[Backend]) -> tuple[Machine, list[Machine]]:
        """This machine, and ready workers, with what is known of their speed and memory now. Reads a file and the system."""
        from synaptic.discovery.here import machines_now

        return machines_now(workers, self.speeds)

    @cached_property
    def conversation(self) -> Conversation:
        from synaptic.engines.conversation import Conversation

        return Conversation()

    @cached_property
    def post_mortems(self) -> PostMortems:
        from synaptic.process.postmortem import PostMortems

        return PostMortems(self.bus, self.pool, self.logs)

    @property
    def logs(self) -> Path:
        """Where every process of ours writes; the temporary folder when there is no home."""
        import tempfile

        return (self.environment.state_dir or Path(tempfile.gettempdir())) / "logs"

    def _model_folders(self) -> tuple[Path, ...]:
        """The user's, and the one that `model pull` fills."""
        pulled = (self.environment.models_dir,) if self.environment.models_dir else ()
        return (*self.settings.now.models_dirs, *pulled)

    def _told_of(self) -> dict[Endpoint, int] | None:
        """Our workers, and their pids; None while nobody shall be told."""
        from synaptic.process.worker_command import BUILTIN, RPC

        told = [worker for worker in self.workers.all() if worker.engine in (RPC, BUILTIN)]
        new = [worker.endpoint for worker in told if worker.engine == BUILTIN and self.dllama.record(worker.endpoint) is None]
        self.dllama.add(new, "local")  # so that it is told as what it is
        return {worker.endpoint: worker.pid for worker in told} if self.settings.now.announce else None

    def _state(self, name: str) -> Path | None:
        return self.environment.state_dir / name if self.environment.state_dir else None

    def _tuning(self) -> tuple[Patience, int | None]:
        from synaptic.process.child import Patience

        return Patience(start=self.settings.now.start_seconds), self.settings.now.threads

    def _relayed(self) -> Relayed:
        from synaptic.process.relayed import Relayed

        now = self.settings.now
        return Relayed(now.relay, now.relay_seconds, now.relay_tls, now.relay_cert)
