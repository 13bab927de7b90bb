"""
A coordinator: the local llama-server that reads the model file and spreads its layers over workers.

Its key is random and travels in the environment; it listens on loopback only, on a port that it chooses itself and
writes into its log. It counts as ready when its log says so, it answers with our key, and every worker of the plan
holds a part of the model.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Hashable, Mapping
from pathlib import Path

import aiohttp
import psutil

from synaptic.cluster.pool import Pool
from synaptic.errors import EngineError
from synaptic.events import Bus, ModelPlaced, Work
from synaptic.models.model import file_of
from synaptic.planning.plan import Plan
from synaptic.process.child import Child, Patience, State
from synaptic.process.llama_log import explain
from synaptic.process.placement import HERE, PlacementReader, Share
from synaptic.process.spawn import Spec
from synaptic.process.variables import inherited

_LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d+)")
ALL_LAYERS = "999"  # more than any model has; the original passed 0 and distributed nothing


class Coordinator:
    def __init__(
        self,
        plan: Plan,
        program: Path,
        *,
        bus: Bus,
        pool: Pool,
        logs: Path,
        variables: Mapping[str, str],
        patience: Patience = Patience(),  # noqa: B008 - frozen
        threads: int | None = None,
    ) -> None:
        self.plan = plan
        self.name = f"coordinator {plan.model.name}"
        self.key = secrets.token_urlsafe(24)
        self.url: str | None = None
        self.generating = 0  # answers being written
        self.placement = PlacementReader()
        self._bus = bus
        self._pool = pool
        self._work: Work | None = None
        log = logs / f"coordinator-{re.sub(r'[^A-Za-z0-9._-]+', '-', plan.model.name)[-80:]}.log"
        self.child = Child(
            Spec(
                self.name,
                command_line(program, plan, threads),
                inherited(variables) | {"LLAMA_API_KEY": self.key, "GGML_NO_BACKTRACE": "1"},
                log,
            ),
            bus,
            is_ready=self._is_ready,
            on_line=self._hear,
            on_change=self._changed,
            sign_of_life=self._progress,
            explain=lambda child: explain(child.last_words),
            patience=patience,
        )

    @property
    def state(self) -> State:
        return self.child.state

    @property
    def port(self) -> int | None:
        return int(self.url.rsplit(":", 1)[1]) if self.url and self.child.pid else None

    async def ensure_ready(self) -> None:
        """Return once the model is loaded and proven to lie where the plan says."""
        with self._bus.work(f"{self.plan.model.name} loading") as work:
            self._work = work
            await self.child.ensure_ready()
            self._work = None

    async def stop(self) -> None:
        await self.child.stop()

    def shares(self) -> tuple[Share, ...]:
        return self.placement.shares()

    def _hear(self, line: str) -> None:
        self.placement.feed(line)
        if self.url is None and (match := _LISTENING.search(line)):
            self.url = match[1]

    def _changed(self, state: State) -> None:
        if state is State.STARTING:
            self.url, self.placement = None, PlacementReader()
            self._pool.hold(self.plan.workers, self.name)
        elif state in (State.STOPPED, State.FAILED):
            self._pool.release(self.name)

    def _progress(self, child: Child) -> Hashable:
        """Bytes of the model that have been read: the mapped file grows into the process's memory as it is sent."""
        resident = _resident_bytes(child.pid)
        if self._work and resident:
            layers, share = self.plan.model.layers, min(resident / max(self.plan.model.bytes, 1), 1.0)
            self._work.update(done=int(layers * share), total=layers, unit="layers")
        return resident >> 20

    async def _is_ready(self, child: Child) -> bool:
        if self.url is None or not await answers(self.url, self.key):
            return False
        empty = [share for share in self._worker_shares() if not share.model_bytes]
        if empty:
            names = ", ".join(share.endpoint for share in empty)
            raise EngineError(
                f"{names} got no part of {self.plan.model.name}", hint=f"try: rpc remove {empty[0].endpoint}, or a larger model"
            )
        sizes = tuple((share.endpoint, share.model_bytes) for share in self.shares())
        self._bus.publish(ModelPlaced(coordinator=self.name, model=self.plan.model.name, bytes_by_device=sizes))
        return True

    def _worker_shares(self) -> list[Share]:
        held = {share.endpoint: share for share in self.shares() if share.endpoint != HERE}
        return [held.get(str(worker), Share(str(worker))) for worker in self.plan.workers]


def command_line(program: Path, plan: Plan, threads: int | None = None) -> tuple[str, ...]:
    """How llama-server is started for `plan`. Its key is not here: argv is public."""
    words = [str(program), "-m", str(file_of(plan.model).absolute()), "--alias", plan.model.name]
    words += ["--host", "127.0.0.1", "--port", "0", "--no-ui", "--no-slots", "--offline"]
    words += ["-c", str(plan.context), "-np", "1", "-lv", "4", "--log-colors", "off"]  # verbosity 4 proves the split
    if threads:
        words += ["-t", str(threads)]
    if plan.workers:
        # the prompt cache would copy the KV cache of every switch over the network; -fit opens ten more connections
        words += ["--rpc", ",".join(map(str, plan.workers)), "-ngl", ALL_LAYERS, "-fit", "off", "--cache-ram", "0"]
    return tuple(words)


async def answers(url: str, key: str) -> bool:
    """Whether a loaded llama-server that knows our key lives at `url`: the port is really ours."""
    timeout = aiohttp.ClientTimeout(total=2)
    headers = {"Authorization": f"Bearer {key}"}
    try:
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as http:
            for path in ("/health", "/v1/models"):
                async with http.get(url + path, headers=headers, allow_redirects=False) as response:
                    if response.status != 200:
                        return False
    except (aiohttp.ClientError, TimeoutError):
        return False
    return True


def _resident_bytes(pid: int | None) -> int:
    try:
        return psutil.Process(pid).memory_info().rss if pid else 0
    except psutil.Error:
        return 0
