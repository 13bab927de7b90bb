"""
A coordinator: the local llama-server that reads the model file and spreads its layers over workers.

Its key is random and travels in the environment; it listens on loopback only, on a port that it chooses itself and
writes into its log. It counts as ready when its log says so, it answers with our key, and every worker of the plan
holds a part of the model. It stands in the ledger from before its process starts until after it has ended; one that
another program started is watched over in the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from synaptic.cluster.pool import Pool
from synaptic.errors import BackendError, EngineError, SynapticError
from synaptic.events import Bus, ModelPlaced, RelayCounted, Work
from synaptic.models.model import LLAMA_CPP, file_of
from synaptic.planning.plan import DEFAULT_KV, Plan
from synaptic.process.adopted import Adopted
from synaptic.process.child import Child, Patience, State
from synaptic.process.coordinator_entry import KEY, Entry, Process
from synaptic.process.coordinator_ledger import CoordinatorLedger
from synaptic.process.flocks import Flock
from synaptic.process.llama_log import explain, is_routine
from synaptic.process.placement import HERE, PlacementReader, Share
from synaptic.process.reading import tell_reading
from synaptic.process.relay_figures import Traffic, figures_of, traffic
from synaptic.process.relayed import RELAY
from synaptic.process.spawn import Spec
from synaptic.process.variables import inherited, inherited_by_python
from synaptic.process.workers import listens

_LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d+)")
ALL_LAYERS = "999"  # more than any model has; the original passed 0 and distributed nothing
NO_COPIES = {"LLAMA_ARG_CACHE_IDLE_SLOTS": "0"}  # of every idle slot, at each request; a variable, which older builds pass over
TOLD_AFTER = 0.05  # seconds until other programs see that it answers: the lock would hold up the first token
PROOF_WITHIN = 5.0  # seconds in which one that was found must answer


class Coordinator:
    engine = LLAMA_CPP

    def __init__(self, entry: Entry, spec: Spec, *, bus: Bus, pool: Pool, ledger: CoordinatorLedger, patience: Patience) -> None:
        self.entry = entry
        self.plan = entry.plan
        self.name = spec.name
        self.key = entry.key
        self.url = entry.url
        self.lost = ""  # why it was stopped although nobody asked for that
        self.is_proven = False  # we have seen that it answers
        self.is_told = False  # the user knows whose it is
        self.placement = PlacementReader()
        self.turns = asyncio.Semaphore(entry.plan.slots)  # answers of this program: what its server queues would seem to stall
        self._bus = bus
        self._pool = pool
        self._ledger = ledger
        self._work: Work | None = None
        self._held_as = ""
        self._generating = 0
        self._busy: Flock | None = None
        self._tells: asyncio.TimerHandle
        self.child = Child(
            spec,
            bus,
            is_ready=self._is_ready,
            on_line=self._hear,
            is_chatter=is_routine,
            on_change=self._changed,
            sign_of_life=lambda child: tell_reading(child.pid, self.plan.model, self._work),
            explain=lambda child: self._explain(child.last_words),
            on_spawn=self._spawned,
            has_owner_elsewhere=lambda: self.entry.is_elsewhere,
            was_stopped_elsewhere=lambda: self._ledger.was_stopped(self.entry),
            patience=patience,
        )

    @property
    def state(self) -> State:
        return self.child.state

    @property
    def port(self) -> int | None:
        return int(self.url.rsplit(":", 1)[1]) if self.url and self.child.pid else None

    @property
    def generating(self) -> int:
        """Answers that it writes for us. Whoever begins one adds one, and takes it away at the end."""
        return self._generating

    @generating.setter
    def generating(self, count: int) -> None:
        if count and not self._generating:
            self._tells = asyncio.get_running_loop().call_later(TOLD_AFTER, self._tell_others)
        elif not count and self._generating:
            self._tells.cancel()
            if self._busy:
                self._busy.give_back()
                self._busy = None
            for each in self.traffic():
                self._bus.publish(RelayCounted(model=self.plan.model.name, **dataclasses.asdict(each)))
        self._generating = count

    def _tell_others(self) -> None:
        self._busy = self._ledger.busy(self.plan.model.name)

    @property
    def is_busy(self) -> bool:
        """Whether it is answering, for us or for another program."""
        return self._generating > 0 or self._ledger.is_busy(self.plan.model.name)

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

    @property
    def has_relays(self) -> bool:
        """Whether relays stand between it and its workers."""
        return bool(self.placement.behind)

    def traffic(self) -> tuple[Traffic, ...]:
        """What its relays have passed on so far; nothing where there are none. Reads a small file."""
        return traffic(figures_of(self.entry.log, self.child.pid), self.plan.workers) if self.has_relays and self.child.pid else ()

    def watch(self) -> None:
        """Watch over the process that the entry names, whoever started it."""
        assert self.entry.process
        self.child.adopt(Adopted(self.entry.process.pid, self.entry.process.started), is_ready=self.entry.url is not None)

    def follow(self, entry: Entry) -> None:
        """What is written of it now: it serves, or belongs to another."""
        self.entry = entry
        if self.child.pid and self._held_as and self._held_as != entry.holder:
            self._hold()
        if entry.url:
            self.url = self.url or entry.url
            self.child.is_said_to_serve()

    def let_go(self) -> None:
        """Forget it; it runs on."""
        self.child.let_go()
        self._pool.release(self._held_as)

    def belong_to(self, owner: Process) -> None:
        """Raises SynapticError when that cannot be written down."""
        entry = dataclasses.replace(self.entry, owner=owner)
        self._ledger.write(entry)
        self.follow(entry)

    async def proves(self, within: float = PROOF_WITHIN) -> bool:
        """Whether what was found is what it was: the port is its own, and it knows the key. A frozen one does not answer."""
        end = time.monotonic() + within
        while self.port and not await self.child.exited(0):
            if await listens(self.child.pid, self.port) and await answers(self.url or "", self.key):
                self.is_proven = True
                return True
            if time.monotonic() > end:
                break
            await asyncio.sleep(0.1)
        return False

    def _explain(self, last_words: Iterable[str]) -> str | None:
        meaning = explain(last_words)
        for relay, worker in self.placement.behind.items():
            meaning = meaning.replace(relay, worker) if meaning else None
        return meaning

    def _hear(self, line: str) -> None:
        self.placement.feed(line)
        if self.url is None and (match := _LISTENING.search(line)):
            self.url = match[1]

    def _changed(self, state: State) -> None:
        if state is State.STARTING:
            self.url, self.placement, self.lost = None, PlacementReader(), ""
            self._hold()
        elif state is State.READY:
            self._hold()
            self._write_url()
        elif state is State.STOPPING:
            self._ledger.mark_stopped(self.entry)
        else:
            self._pool.release(self._held_as)
            if self.entry.process and self.entry.process.is_alive:  # not even SIGKILL ended it
                return
            with contextlib.suppress(SynapticError):  # it is gone: whoever looks next will erase it
                self._ledger.erase(self.entry)

    def _hold(self) -> None:
        self._pool.release(self._held_as)
        self._held_as = self.entry.holder
        with contextlib.suppress(BackendError):  # a claim is decided in the ledger; here it only keeps us from asking
            self._pool.hold(self.plan.workers, self._held_as)

    def _spawned(self, pid: int) -> None:
        self.entry = dataclasses.replace(self.entry, process=Process.of(pid), url=None)
        self._ledger.write(self.entry)

    def _write_url(self) -> None:
        if self.entry.url or self.entry.is_elsewhere or not self.child.pid:
            return
        self.is_proven = True
        self.entry = dataclasses.replace(self.entry, process=Process.of(self.child.pid), url=self.url)
        with contextlib.suppress(SynapticError):  # a full disk: its log tells the URL too
            self._ledger.write(self.entry)

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


def new_entry(plan: Plan, logs: Path, owner: Process) -> Entry:
    log = logs / f"coordinator-{re.sub(r'[^A-Za-z0-9._-]+', '-', plan.model.name)[-80:]}.log"
    return Entry(plan, secrets.token_urlsafe(24), log, owner)


def spec_of(entry: Entry, argv: tuple[str, ...], variables: Mapping[str, str]) -> Spec:
    ours = inherited_by_python(variables) if RELAY in argv else inherited(variables)
    told = ours | {KEY: entry.key, "GGML_NO_BACKTRACE": "1"} | NO_COPIES
    return Spec(f"coordinator {entry.plan.model.name}", argv, told, entry.log)


def command_line(program: Path, plan: Plan, threads: int | None = None) -> tuple[str, ...]:
    """How llama-server is started for `plan`. Its key is not here: argv is public."""
    words = [str(program), "-m", str(file_of(plan.model).absolute()), "--alias", plan.model.name]
    words += ["--host", "127.0.0.1", "--port", "0", "--no-ui", "--no-slots", "--metrics", "--offline"]
    words += ["-c", str(plan.context * plan.slots), "-np", str(plan.slots)]
    words += ["-lv", "4", "--log-colors", "off"]  # verbosity 4 proves the split
    if threads:
        words += ["-t", str(threads)]
    if plan.workers:
        # the prompt cache would copy the KV cache of every switch over the network; -fit opens ten more connections
        words += ["--rpc", ",".join(map(str, plan.workers)), "-ngl", ALL_LAYERS, "-fit", "off", "--cache-ram", "0"]
    if plan.kv_type != DEFAULT_KV:  # a quantized cache of values needs flash attention
        words += ["-ctk", plan.kv_type, "-ctv", plan.kv_type, "-fa", "on"]
    if plan.tensor_split:
        words += ["-ts", ",".join(f"{share:g}" for share in plan.tensor_split)]
    return tuple(words)


async def answers(url: str, key: str) -> bool:
    """Whether a loaded llama-server that knows our key lives at `url`: the port is really ours."""
    import aiohttp

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
