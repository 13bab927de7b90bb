"""Pictures of a measurement, as SVG by matplotlib (extra `bench`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from synaptic.bench.result import Result
from synaptic.errors import SynapticError

if TYPE_CHECKING:
    from matplotlib.axes import Axes  # type: ignore[import-not-found,unused-ignore]  # an extra

THROUGHPUT, FIRST, NODES = "throughput-latency.svg", "ttft.svg", "nodes.svg"


def plots(result: Result, folder: Path) -> list[Path]:
    """Throughput against latency, the distribution of TTFT, each node over time. Raises SynapticError without matplotlib."""
    try:
        import matplotlib  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise SynapticError("plots need matplotlib", hint="try: python -m pip install matplotlib") from None
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = result.id  # the same measurement gives the same file
    draw = {THROUGHPUT: _throughput, FIRST: _first, NODES: _nodes}
    folder.mkdir(parents=True, exist_ok=True)
    return [_drawn(result, folder / name, how) for name, how in draw.items()]


def _drawn(result: Result, path: Path, how: object) -> Path:
    from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    assert callable(how)
    how(result, figure.subplots())
    figure.savefig(path, format="svg", metadata={"Date": None})
    return path


def _throughput(result: Result, axes: Axes) -> None:
    """Each point a load; those of one mix are joined, and named on one side of their line."""
    for number, mix in enumerate(dict.fromkeys(point.mix for point in result.points)):
        known = [point for point in result.points if point.mix == mix and point.e2e.mean is not None]
        drawn = [(point.throughput.mean or 0.0, point.e2e.mean or 0.0) for point in known]
        axes.plot([x for x, _ in drawn], [y for _, y in drawn], "o-", label=mix)
        above = number % 2 == 0
        for point, place in zip(known, drawn, strict=True):
            offset, side = ((-5, 5), "right") if above else ((5, -12), "left")
            axes.annotate(point.load, place, xytext=offset, textcoords="offset points", ha=side, fontsize=8)
    axes.margins(0.15)
    axes.set(xlabel="throughput, tokens/s", ylabel="e2e, ms", title="throughput against latency")
    axes.set_ylim(bottom=0)
    axes.legend()


def _first(result: Result, axes: Axes) -> None:
    for point in result.points:
        values = sorted(sample.ttft for run in point.runs for sample in run.requests if sample.is_whole and sample.ttft is not None)
        if values:
            axes.step(values, [(place + 1) / len(values) for place in range(len(values))], where="post", label=f"{point.mix}, {point.load}")
    axes.set(xlabel="ttft, ms", ylabel="share of the requests", title="time to the first token", ylim=(0, 1.02))
    if axes.has_data():
        axes.legend()


def _nodes(result: Result, axes: Axes) -> None:
    """Machines by their processors and GPUs; on the right, the requests that wait at a server."""
    seen = {node: moments for node, said in result.telemetry.items() if (moments := _moments(said))}
    began = min((moments[0]["at"] for moments in seen.values()), default=0.0)
    right = axes.twinx() if any("waiting" in moments[0] for moments in seen.values()) else None
    for node, moments in seen.items():
        times = [moment["at"] - began for moment in moments]
        for label, values in _lines(node, moments):
            if right and "waiting" in moments[0]:
                right.plot(times, values, ":", color="black", label=label)
            else:
                axes.plot(times, values, label=label)
    axes.set(xlabel="seconds", ylabel="percent busy", title="nodes", ylim=(0, 105))
    lines = [line for each in (axes, right) if each for line in each.get_lines()]
    if right:
        right.set(ylabel="requests", ylim=(0, None))
    if lines:
        axes.legend(lines, [line.get_label() for line in lines], loc="upper left")


def _lines(node: str, moments: list[dict[str, Any]]) -> list[tuple[str, list[float]]]:
    if "waiting" in moments[0]:
        return [(f"{node}, waiting", [float(moment["waiting"]) for moment in moments])]
    lines = [(f"{node}, CPU", [float(moment["cpu"]) for moment in moments])]
    for place, _ in enumerate(moments[0].get("gpus") or ()):
        if all(len(moment["gpus"]) > place and moment["gpus"][place]["busy"] is not None for moment in moments):
            lines.append((f"{node}, GPU {place}", [float(moment["gpus"][place]["busy"]) for moment in moments]))
    return lines


def _moments(said: object) -> list[dict[str, Any]]:
    series = said.get("series") if isinstance(said, dict) else None
    return [each for each in series if isinstance(each, dict)] if isinstance(series, list) else []
