"""A measurement as tables for the terminal."""

from __future__ import annotations

from typing import Any

from synaptic.bench.explained import Explained, explained
from synaptic.bench.figures import Figure
from synaptic.bench.report.nodes import nodes
from synaptic.bench.result import METRICS, TIMES, UNITS, LoadPoint, Result
from synaptic.results import Cell, Facts, Rows, plural, to_json

BUSY = 0.5  # of one core: from here on the client may be what is measured
BAR = 30  # characters of the longest bar of a plot


def shown(result: Result) -> Facts:
    document = to_json(result)
    assert isinstance(document, dict)
    tables: list[tuple[str, Rows[Any]]] = [
        ("figures", figures(result)),
        ("tokens/s", plot(result)),
        ("predicted", predicted(result)),
        ("percentiles", percentiles(result)),
        ("machines", nodes(result)),
        ("definitions", definitions(result)),
    ]
    return Facts(facts(result), document, tables, summary=notes(result))


def facts(result: Result) -> list[tuple[str, str | Cell]]:
    limits, profile = result.limits, result.profile
    said: list[tuple[str, str | Cell]] = [
        ("measurement", Cell(result.id if result.complete else f"{result.id}, interrupted", "" if result.complete else "attention")),
        ("model", f"{result.model.name}, {result.model.sha256[:12] if result.model.sha256 else 'its file is not known'}"),
        ("profile", f"{profile.name}@{profile.version}, {(profile.sha256 or '')[:12]}" if profile else "none"),
        ("engine", engine(result)),
        ("limits", f"{limits.name}: ttft {_limit(limits.ttft)}, tpot {_limit(limits.tpot)}"),
    ]
    return [*said, ("overhead", overhead(result))]


def engine(result: Result) -> str:
    return " ".join(filter(None, (result.software.engine, result.software.build, f"at {result.software.where}")))


def figures(result: Result) -> Rows[LoadPoint]:
    columns = {metric: (lambda point, metric=metric: interval(point.of(metric), metric)) for metric in METRICS}
    return Rows(
        key="shapes",
        items=result.points,
        columns={"mix": lambda point: point.mix, "load": lambda point: point.load, **columns, "failed": _failed, "cached": _cached},
    )


def percentiles(result: Result) -> Rows[tuple[LoadPoint, str]]:
    """A row for each time of each load."""
    ranks = {rank: (lambda row, rank=rank: number(getattr(row[0].of(row[1]), rank))) for rank in ("p50", "p90", "p95", "p99")}
    return Rows(
        key="percentiles",
        items=[(point, metric) for point in result.points for metric in TIMES if point.of(metric).n],
        columns={
            "mix": lambda row: row[0].mix,
            "load": lambda row: row[0].load,
            "metric": lambda row: f"{row[1]}, ms",
            "n": lambda row: str(row[0].of(row[1]).n),
            **ranks,
        },
    )


def predicted(result: Result) -> Rows[Explained]:
    """What the cost model expected of each load, where it knew the machines; `explain` has the terms."""
    return Rows(
        key="predicted",
        items=explained(result),
        columns={
            "mix": lambda each: each.point.mix,
            "load": lambda each: each.point.load,
            "tok/s, predicted": lambda each: " to ".join(map(number, each.said.tokens_per_second)),
            "measured": lambda each: number(each.measured.tokens_per_second),
            "answers at work": lambda each: str(each.said.slots),
            "bottleneck": lambda each: each.said.bottleneck,
        },
        empty="the machines behind it are not known: nothing was predicted",
    )


def plot(result: Result) -> Rows[LoadPoint]:
    """Throughput against the load, as bars."""
    most = max((point.throughput.mean or 0.0 for point in result.points), default=0.0)

    def bar(point: LoadPoint) -> str:
        return "█" * round(BAR * (point.throughput.mean or 0.0) / most) if most else ""

    columns = {
        "mix": lambda point: point.mix,
        "load": lambda point: point.load,
        "": bar,
        "tok/s": lambda point: number(point.throughput.mean),
    }
    return Rows(key="plot", items=result.points, columns=columns)


def definitions(result: Result) -> Rows[tuple[str, str]]:
    columns = {"word": lambda row: row[0], "means": lambda row: row[1]}
    return Rows(key="definitions", items=list(result.definitions.items()), columns=columns)


def notes(result: Result) -> str | None:
    said = [f"{point.mix}, {point.load}: not comparable, for {point.why_not}" for point in result.points if point.why_not]
    silent = sum(point.cache.unknown for point in result.points)
    if silent:
        said.append(f"of {plural(silent, 'answer')} the server did not say whether its cache held a part of the prompt")
    busy = _busiest(result)
    if busy > BUSY:
        said.append(f"measuring itself took up to {busy:.0%} of one core: a server this fast is faster than what is shown")
    found = result.config.get("preflight")
    for each in found if isinstance(found, list) else []:
        if isinstance(each, dict):
            said.append(f"{each['what']}: {each['detail']}")
    if any(len(point.runs) < 3 for point in result.points):
        said.append("fewer than 3 repeats: the intervals say little")
    return "\n".join(said) or None


def interval(figure: Figure, metric: str = "") -> str:
    """`12.3 ± 0.4 ms`"""
    if figure.mean is None:
        return "n/a"
    half = f" ± {number((figure.ci95[1] - figure.ci95[0]) / 2)}" if figure.ci95 else ""
    return f"{number(figure.mean)}{half} {UNITS.get(metric, '')}".rstrip()


def number(value: float | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def overhead(result: Result) -> str:
    """What watching took on each machine, and asking on this one; what a server's own figures cost it is not known."""
    told = {node: said for node, said in result.telemetry.items() if isinstance(said, dict) and said.get("series")}
    shares = {node: share for node, said in told.items() if isinstance(share := said.get("overhead"), float) and share > 0}
    trouble = [
        f"{node} was not watched: {said['trouble']}"
        for node, said in result.telemetry.items()
        if isinstance(said, dict) and said.get("trouble")
    ]
    watched = ", ".join(f"watching {node} took {share:.2%} of one core" for node, share in shares.items()) or "nothing was watched"
    busy = _busiest(result)
    asking = [f"sending the requests and reading the answers up to {busy:.1%}"] if busy else []
    return "; ".join([watched, *asking, *trouble])


def _busiest(result: Result) -> float:
    """The share of one core that asking took, in the repeat where it took most."""
    return max((run.client for point in result.points for run in point.runs), default=0.0)


def _failed(point: LoadPoint) -> Cell:
    if not point.errors + point.truncated:
        return Cell(f"0 of {point.requests}")
    return Cell(f"{point.errors} + {point.truncated} truncated of {point.requests}", "bad")


def _cached(point: LoadPoint) -> str:
    return f"{point.cache.cached_tokens} of {point.cache.prompt_tokens} tokens"


def _limit(value: float | None) -> str:
    return "any" if value is None else f"≤ {value:g} ms"
