"""Pictures of a measurement, as SVG by matplotlib (extra `bench`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
    for mix in dict.fromkeys(shape.mix for shape in result.shapes):
        known = [shape for shape in result.shapes if shape.mix == mix and shape.e2e.mean is not None]
        axes.plot([shape.throughput.mean or 0.0 for shape in known], [shape.e2e.mean or 0.0 for shape in known], "o-", label=mix)
        for shape in known:
            axes.annotate(shape.load, (shape.throughput.mean or 0.0, shape.e2e.mean or 0.0))
    axes.set(xlabel="throughput, tokens/s", ylabel="e2e, ms", title="throughput against latency")
    axes.legend()


def _first(result: Result, axes: Axes) -> None:
    for shape in result.shapes:
        values = sorted(sample.ttft for run in shape.runs for sample in run.requests if sample.is_whole and sample.ttft is not None)
        if values:
            axes.step(values, [(place + 1) / len(values) for place in range(len(values))], where="post", label=f"{shape.mix}, {shape.load}")
    axes.set(xlabel="ttft, ms", ylabel="share of the requests", title="time to the first token", ylim=(0, 1))
    if axes.has_data():
        axes.legend()


def _nodes(result: Result, axes: Axes) -> None:
    for node, said in result.telemetry.items():
        series = said.get("series") if isinstance(said, dict) else None
        moments = [each for each in series if isinstance(each, dict)] if isinstance(series, list) else []
        if moments:
            began = moments[0]["at"]
            assert isinstance(began, float)
            axes.plot(
                [float(str(each["at"])) - began for each in moments], [float(str(each["cpu"])) for each in moments], label=f"{node}, CPU"
            )
    axes.set(xlabel="seconds", ylabel="percent busy", title="nodes", ylim=(0, 100))
    if axes.has_data():
        axes.legend()
