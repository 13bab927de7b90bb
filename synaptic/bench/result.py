"""A measurement as it is kept: one JSON document, whose form is config/bench/result.schema.json. Values only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from synaptic.bench.figures import Figure
from synaptic.bench.sample import Sample
from synaptic.results import Json, to_json

SCHEMA = "synaptic.bench/1"
TIMES, RATES = ("ttft", "tpot", "itl", "e2e"), ("throughput", "goodput")
METRICS = (*TIMES, *RATES)
UNITS = dict.fromkeys(TIMES, "ms") | {"throughput": "tok/s", "goodput": "req/s"}
MOST_ERRORS = 0.01  # of the requests; with more a measurement is not comparable


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request must keep to be good, in ms. None: no limit. `source`: where they are from."""

    name: str
    ttft: float | None
    tpot: float | None
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Run:
    """One repeat. `means`: of each metric, one value; a comparison rests on these. `client`: the share of one core that we took."""

    repeat: int
    seconds: float
    means: Mapping[str, float | None]
    requests: tuple[Sample, ...] = ()
    client: float = 0.0


@dataclasses.dataclass(frozen=True)
class Cache:
    """`hits`: requests with cached tokens; `unknown`: those of which the server did not say."""

    hits: int
    cached_tokens: int
    prompt_tokens: int
    unknown: int


@dataclasses.dataclass(frozen=True)
class LoadPoint:
    """
    What came of one mix under one load: a point on the curve of latency over throughput. Times in ms, `rate` in requests
    a second. `why_not`: why it is not comparable; empty: it is.
    """

    mix: str
    concurrency: int | None
    rate: float | None
    requests: int
    errors: int
    truncated: int
    cache: Cache
    prompt_tokens: Figure
    completion_tokens: Figure
    ttft: Figure
    tpot: Figure
    itl: Figure
    e2e: Figure
    throughput: Figure
    goodput: Figure
    why_not: str
    runs: tuple[Run, ...]

    @property
    def load(self) -> str:
        return load_told(self.concurrency, self.rate)

    def of(self, metric: str) -> Figure:
        found = getattr(self, metric)
        assert isinstance(found, Figure)
        return found

    def means(self, metric: str) -> list[float]:
        return [value for run in self.runs if (value := run.means.get(metric)) is not None]


@dataclasses.dataclass(frozen=True)
class Identity:
    """`sha256` None: not known. Of a model it is that of its file's header and size, which `about` says."""

    name: str
    sha256: str | None
    version: str = ""
    about: str = ""


@dataclasses.dataclass(frozen=True)
class Software:
    engine: str
    build: str
    where: str


@dataclasses.dataclass(frozen=True)
class Result:
    """`at`: seconds since the epoch. `complete`: it was not interrupted. `config` is what was asked for."""

    id: str
    at: float
    tool: str
    model: Identity
    profile: Identity | None
    software: Software
    route: Json
    config: Mapping[str, Json]
    limits: Limits
    points: tuple[LoadPoint, ...]
    definitions: Mapping[str, str]
    telemetry: Mapping[str, Json]
    prediction: Json = None
    complete: bool = True
    schema: str = SCHEMA

    def as_json(self) -> Json:
        """With the points as `shapes`: the name by which files and scripts know them."""
        fields = (field.name for field in dataclasses.fields(self))
        return {"shapes" if name == "points" else name: to_json(getattr(self, name)) for name in fields}


def load_told(concurrency: int | None, rate: float | None) -> str:
    if rate is not None:
        return f"{rate:g} a second"
    return "as recorded" if concurrency is None else f"{concurrency} at once"
