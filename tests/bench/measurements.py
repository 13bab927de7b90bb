"""Small measurements, made of chosen numbers."""

from __future__ import annotations

from synaptic.bench.load.measurement import Load, point_of, run_of
from synaptic.bench.load.mixes import MIXES
from synaptic.bench.result import Identity, Limits, Result, Software
from synaptic.bench.sample import DEFINITIONS, Sample

LIMITS = Limits("test", 1000.0, 100.0)


def sample(ttft: float = 100.0, gap: float = 10.0, *, error: str = "", cached: int | None = 0) -> Sample:
    return Sample(0.0, ttft, ttft + 3 * gap, (gap,) * 3, 20, 4, cached, error, bool(error))


def result(*repeats: list[Sample], seconds: float = 1.0, model: str = "a" * 64, profile: str | None = None, name: str = "one") -> Result:
    load = Load(MIXES["short"], 2)
    point = point_of(load, [run_of(place, seconds, samples, LIMITS) for place, samples in enumerate(repeats)])
    return Result(
        id=name,
        at=0.0,
        tool="1",
        model=Identity("m", model),
        profile=Identity("p", profile, "0.1") if profile else None,
        software=Software("llama-server", "b1", "here"),
        route=None,
        config={"requests": len(repeats[0])},
        limits=LIMITS,
        points=(point,),
        definitions=DEFINITIONS,
        telemetry={},
    )
