"""Real workers at the end of cables, and the real llama-server: a world in which answers are disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from conftest import DEMO, Worker

from synaptic.cluster.nodes import Nodes
from synaptic.cluster.pool import Pool
from synaptic.discovery.here import machines_now
from synaptic.endpoint import Endpoint
from synaptic.engines.answer import Reply
from synaptic.engines.answering import Answering
from synaptic.engines.engine import Message
from synaptic.environment import Environment
from synaptic.events import Bus
from synaptic.models.catalog import Catalog
from synaptic.planning.predictions import Predictions
from synaptic.planning.speeds import Speeds
from synaptic.process.child import Patience
from synaptic.process.coordinators import Coordinators
from synaptic.process.install import Engines
from synaptic.process.relayed import Relayed
from synaptic.settings.values import Values

QUESTION = (Message("user", "What is a worker?"),)
CABLE = Path(__file__).parent / "fakes" / "delayproxy.py"
DELAY = 8  # milliseconds each way: a token takes so long that the answer cannot be over before the harm is done


class Cabled:
    """A real worker at the end of a cable."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.is_pulled = False
        self.cable = subprocess.Popen(
            [sys.executable, str(CABLE), str(worker.endpoint.port), "--delay", str(DELAY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.endpoint = Endpoint("127.0.0.1", int(self.cable.stdout.readline().split()[1]))

    def close(self) -> None:
        self.cable.communicate(timeout=10)


Harm = Callable[[Cabled], None]


class World:
    """Real workers and the real llama-server."""

    def __init__(self, folder: Path, workers: list[Cabled], llama_server: Path, relayed: Relayed = Relayed()) -> None:  # noqa: B008 - frozen
        self.workers = workers
        self.bus = Bus()
        self.pool = Pool(self.bus)
        self.pool.add([worker.endpoint for worker in workers], "configured")
        self.values = Values(distributed_inference_enabled=True, stall_seconds=4.0)
        self.asked: list[str] = []
        self.agrees = True
        variables = {"LLAMA_SERVER": str(llama_server), "PATH": os.environ["PATH"]}
        engines = Engines(Environment(variables, sys.stdin, sys.stdout, sys.stderr))
        patience = Patience(start=20.0, terms=(1.0, 1.0))
        self.coordinators = Coordinators(
            engines, self.pool, self.bus, logs=folder, variables=variables, tuning=lambda: (patience, 1), relayed=lambda: relayed
        )
        self.answering = Answering(
            Catalog(lambda: (), DEMO),
            self.pool,
            Nodes(lambda: (), self.bus, keys={}),
            self.coordinators,
            lambda: self.values,
            self.bus,
            machines=lambda found: machines_now(found, Speeds(None)),
            predictions=Predictions(None),
            confirm=self.confirm,
        )

    async def confirm(self, question: str) -> bool:
        self.asked.append(question)
        return self.agrees

    async def ask(self, *harms: tuple[int, Harm, Cabled]) -> Reply:
        """`harms`: after how many pieces what happens to which worker."""
        reply = Reply(self.answering, await self.answering.route("demo"), QUESTION, lambda text, complete: None)
        count, waiting = 0, list(harms)
        async for _ in reply.pieces():
            count += 1
            while waiting and waiting[0][0] <= count:
                _, harm, worker = waiting.pop(0)
                harm(worker)
        return reply


def kill(each: Cabled) -> None:
    each.worker.process.kill()
    each.worker.process.wait()


def freeze(each: Cabled) -> None:
    os.kill(each.worker.process.pid, signal.SIGSTOP)


def unplug(each: Cabled) -> None:
    each.is_pulled = True
    each.cable.stdin.write("blackhole\n")
    each.cable.stdin.flush()
