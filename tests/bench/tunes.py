"""Scenes and visits of chosen numbers, for tuning."""

from __future__ import annotations

from collections.abc import Sequence

from synaptic.bench.load.measurement import Load, run_of
from synaptic.bench.load.mixes import MIXES
from synaptic.bench.result import Limits
from synaptic.bench.sample import Sample
from synaptic.bench.tune.candidates import Scene
from synaptic.bench.tune.values import THROUGHPUT, Candidate, Objective, Visit
from synaptic.endpoint import Endpoint
from synaptic.models.model import Model
from synaptic.planning.machine import Machine
from synaptic.planning.plan import Plan
from synaptic.planning.shape import Shape
from synaptic.planning.speeds import Speed

GB = 10**9
A, B = Endpoint("10.0.0.1", 50052), Endpoint("10.0.0.2", 50052)
MODEL = Model("big", "folder", None, "llama", 7 * GB, 7 * GB, 32, 32768, "Q8_0", 7 * GB, ("llama.cpp",))
SHAPE = Shape((200_000_000,) * 32, 500_000_000, 500_000_000, 2048, 4096, 11008, 32000, 7 * GB, 7 * GB, "Q8_0")
NO_LIMITS = Limits("none", None, None)


def objective(aim: str = THROUGHPUT, *, users: int = 4, ttft: float | None = None, tpot: float | None = None) -> Objective:
    return Objective(aim, Limits("test", ttft, tpot), Load(MIXES["short"], users))


def machine(endpoint: Endpoint | None, free: float = 100, *, bandwidth: float = 100, round_trip: float = 0.0) -> Machine:
    """In GB and GB/s; its speed is measured."""
    return Machine(endpoint, round(free * GB), Speed(bandwidth * GB, round_trip, measured_at=1.0), round_trip)


def scene(machines: Sequence[Machine], *, workers: Sequence[Endpoint] = (A,), aim: Objective | None = None, context: int = 2048) -> Scene:
    split = (16.0, 17.0) if len(workers) == 2 else ()
    return Scene(SHAPE, machines, Plan(MODEL, tuple(workers), context, 1, split), aim or objective())


def visit(seconds: float, *, requests: int = 4, ttft: float = 100.0, gap: float = 10.0, took: float = 1.0) -> Visit:
    """`seconds` of the whole repeat: its rates. `gap`: ms a token, of four."""
    samples = [Sample(0.0, ttft, ttft + 3 * gap, (gap,) * 3, 20, 4, 0)] * requests
    return Visit(run_of(0, seconds, samples, Limits("test", 1000.0, 100.0)), took)


def named(name: str, price: float = 0.0, why_not: str = "") -> Candidate:
    return Candidate(name, Plan(MODEL, (A,), 2048), None, (("parallel", 1),), price, why_not)
