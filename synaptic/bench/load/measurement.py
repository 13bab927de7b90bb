"""
Requests under load: so many at once (closed loop), or as they come (open loop, Poisson or as recorded). Each load is
repeated, and the loads take turns, so that what drifts meanwhile touches all of them alike.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Sequence

from synaptic.bench.figures import figure
from synaptic.bench.load.mixes import Mix, prompts
from synaptic.bench.load.sending import Asked, closed_loop, open_loop, poisson
from synaptic.bench.result import METRICS, MOST_ERRORS, TIMES, Cache, Limits, LoadPoint, Run, load_told
from synaptic.bench.sample import Sample, measured
from synaptic.errors import EngineError
from synaptic.results import plural

WARM_UP = 3  # requests before each load, at least; they are not counted
TEMPLATE = 0.3  # of a prompt: so much of it, the words around every question, may be known to the server
GUESS = 0.7  # words for each token, where the server does not count


@dataclasses.dataclass(frozen=True)
class Load:
    """Either `concurrency` requests at once, or `rate` a second; with neither, as the mix's trace recorded them."""

    mix: Mix
    concurrency: int | None
    rate: float | None = None

    @property
    def told(self) -> str:
        return load_told(self.concurrency, self.rate)


@dataclasses.dataclass(frozen=True)
class Asking:
    """What is measured: how often, and from which seed on."""

    loads: tuple[Load, ...]
    requests: int
    repeats: int
    seed: int
    limits: Limits


class Measurement:
    """What has been measured so far is in `points()` at any time: an interrupted one keeps it. `tell`: hears (done, of)."""

    def __init__(self, asking: Asking, asked: Asked, tell: Callable[[str, int, int], None]) -> None:
        self.asking = asking
        self._asked = asked
        self._tell = tell
        self._runs: dict[Load, list[Run]] = {load: [] for load in asking.loads}
        self._words: dict[Mix, float] = {}
        self._behind: dict[Load, str] = {}
        self._done = 0

    async def warm_up(self) -> None:
        """Raises EngineError when not even that is answered."""
        for load in self.asking.loads:
            self._tell(f"warming up: {load.mix.name}", 0, 0)
            await self._warm_up(load)

    async def turn(self, load: Load, repeat: int) -> None:
        if load not in self._behind:
            await self._repeat(load, repeat)

    def points(self) -> tuple[LoadPoint, ...]:
        return tuple(point_of(load, runs, self._behind.get(load, "")) for load, runs in self._runs.items() if runs)

    async def _warm_up(self, load: Load) -> None:
        """An RPC worker gets a new graph for each new shape of batch: that belongs to no measurement."""
        if load.mix not in self._words:
            self._words[load.mix] = 1.0 if load.mix.own else await self._words_per_token(load.mix)
        source = prompts(load.mix, f"{self.asking.seed} warm-up {load.concurrency} {load.rate}", self._words[load.mix])
        at_once = load.concurrency or 1
        samples: list[Sample] = []
        await closed_loop(self._asked, load.mix, source, max(WARM_UP, at_once), at_once, samples)
        if failed := [sample for sample in samples if not sample.is_whole and not sample.truncated]:
            raise EngineError(f"the warm-up failed: {failed[0].error}", hint="try: ask hello, with the same model")

    async def _words_per_token(self, mix: Mix) -> float:
        """From two prompts, so that the template around them does not count."""
        counts, sizes = [], (16, 48)
        for size in sizes:
            source = prompts(
                dataclasses.replace(mix, prompt_tokens=size, may_cache=False, answer_tokens=1, arrivals=()),
                f"{self.asking.seed} {size}",
                1.0,
            )
            sample = await measured(self._asked.answer(next(source), may_cache=False), 0.0)
            if not sample.is_whole:
                raise EngineError(f"the warm-up failed: {sample.error}", hint="try: ask hello, with the same model")
            counts.append(sample.prompt_tokens or 0)
        return (sizes[1] - sizes[0]) / (counts[1] - counts[0]) if counts[1] > counts[0] else GUESS

    async def _repeat(self, load: Load, repeat: int) -> None:
        asking = self.asking
        seed = f"{asking.seed} {repeat} {load.concurrency} {load.rate}"
        source, samples = prompts(load.mix, seed, self._words[load.mix]), _Told(self._told)
        began, worked = time.monotonic(), time.process_time()
        try:
            if load.concurrency is not None:
                await closed_loop(self._asked, load.mix, source, asking.requests, load.concurrency, samples)
            else:
                due, is_steady = self._due(load, random.Random(seed)), load.rate is not None
                if behind := await open_loop(self._asked, load.mix, source, due, samples, is_steady=is_steady):
                    self._behind[load] = f"it fell behind {load.told}: {behind}"
        finally:
            if samples:
                seconds, ours = time.monotonic() - began, time.process_time() - worked
                self._runs[load].append(
                    dataclasses.replace(run_of(repeat, seconds, samples, asking.limits), client=round(ours / seconds, 3))
                )

    def _due(self, load: Load, chance: random.Random) -> list[float]:
        if load.rate is not None:
            return poisson(self.asking.requests, load.rate, chance)
        return [each.at for each in load.mix.arrivals[: self.asking.requests]]

    def _told(self) -> None:
        self._done += 1
        self._tell("measuring", self._done, len(self.asking.loads) * self.asking.repeats * self.asking.requests)


async def in_turns(measurements: Sequence[Measurement]) -> None:
    """
    All of the same loads, as often. In each repeat one after the other has its turn with a load, every second time the
    other way round: what drifts meanwhile touches all of them alike. Raises EngineError when a warm-up is not answered.
    """
    asking = measurements[0].asking
    for each in measurements:
        await each.warm_up()
    for repeat in range(asking.repeats):
        for load in asking.loads:
            for each in measurements[:: -1 if repeat % 2 else 1]:
                await each.turn(load, repeat)


class _Told(list[Sample]):
    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def append(self, sample: Sample) -> None:
        super().append(sample)
        self._tell()


def run_of(repeat: int, seconds: float, samples: Sequence[Sample], limits: Limits) -> Run:
    """One repeat, which took so long in all. Times are those of complete answers; the rest counts against goodput alone."""
    whole = [sample for sample in samples if sample.is_whole]
    means = {metric: _mean(_values(metric, whole)) for metric in TIMES}
    means["throughput"] = sum(sample.tokens for sample in whole) / seconds
    means["goodput"] = sum(sample.meets(limits.ttft, limits.tpot) for sample in samples) / seconds
    return Run(repeat, round(seconds, 3), means, tuple(samples))


def point_of(load: Load, runs: Sequence[Run], behind: str = "") -> LoadPoint:
    """`behind`: why it was stopped early."""
    mix = load.mix
    return point_of_runs(mix.name, load.concurrency, load.rate, runs, behind, may_cache=mix.may_cache)


def point_of_runs(
    mix: str, concurrency: int | None, rate: float | None, runs: Sequence[Run], behind: str = "", *, may_cache: bool = False
) -> LoadPoint:
    """All repeats of one load. `may_cache`: a prompt may lie in the server's cache, so that speaks not against it."""
    everything = [sample for run in runs for sample in run.requests]
    errors = sum(not sample.is_whole and not sample.truncated for sample in everything)
    truncated = sum(sample.truncated for sample in everything)
    figures = {metric: figure([_of_run(metric, run) for run in runs]) for metric in (*METRICS, "prompt_tokens", "completion_tokens")}
    return LoadPoint(
        mix=mix,
        concurrency=concurrency,
        rate=rate,
        requests=len(everything),
        errors=errors,
        truncated=truncated,
        cache=cache_of(everything),
        why_not=behind or _why_not(everything, errors + truncated, may_cache=may_cache),
        runs=tuple(runs),
        **figures,
    )


def cache_of(samples: Sequence[Sample]) -> Cache:
    """What the server says that it knew already of the prompts."""
    told = [sample.cached_tokens for sample in samples if sample.cached_tokens is not None]
    whole = [sample for sample in samples if sample.is_whole]
    read = sum(sample.prompt_tokens or 0 for sample in whole)
    return Cache(sum(count > 0 for count in told), sum(told), read, sum(sample.cached_tokens is None for sample in whole))


def _why_not(samples: Sequence[Sample], failed: int, *, may_cache: bool) -> str:
    if failed > MOST_ERRORS * len(samples):
        return f"{failed} of {plural(len(samples), 'request')} failed or broke off"
    cached = sum((sample.cached_tokens or 0) > TEMPLATE * (sample.prompt_tokens or 0) for sample in samples)
    if cached and not may_cache:
        return f"{plural(cached, 'request')} found a part of the prompt in the server's cache"
    return ""


def _of_run(metric: str, run: Run) -> list[float]:
    if metric in run.means and metric not in TIMES:
        value = run.means[metric]
        return [] if value is None else [value]
    return _values(metric, [sample for sample in run.requests if sample.is_whole])


def _values(metric: str, samples: Sequence[Sample]) -> list[float]:
    if metric == "itl":
        return [gap for sample in samples for gap in sample.itl]
    name = "tokens" if metric == "completion_tokens" else metric
    return [float(value) for sample in samples if (value := getattr(sample, name)) is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
