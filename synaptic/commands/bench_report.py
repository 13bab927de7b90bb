"""bench report, compare, import, link: what was measured, read again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import backends
from synaptic.commands.grammar import Complete, Completion
from synaptic.commands.registry import registry
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, EngineError, SynapticError, UsageError
from synaptic.files import path_of
from synaptic.results import Cell, Facts, Note, Rows

if TYPE_CHECKING:
    from synaptic.bench.compare import Compared
    from synaptic.session import Session

MOST_KNOCKS = 1000


def kept(session: Session) -> list[Completion]:
    folder = session.environment.state_dir
    return [(path.stem, str(path)) for path in sorted((folder / "bench").glob("*.json"))] if folder else []


@registry.command("bench report", group="measure")
async def report(
    session: Session, file: Annotated[str | None, Complete(kept)] = None, *, out: str | None = None, svg: str | None = None
) -> Facts:
    """Show a measurement again, the newest or FILE: what bench run wrote, or the id it gave; --out FILE.md writes it as Markdown.

    --svg FOLDER draws throughput against latency, the times to the first token, and the machines over time; that needs
    the package matplotlib.

        bench report
        bench report 20261121-155919-6fe915 --out report.md
        bench report before.json --svg plots

    See also: bench compare, targets check
    """
    from synaptic.bench.kept import read
    from synaptic.bench.report.markdown import markdown
    from synaptic.bench.report.plots import plots
    from synaptic.bench.report.tables import shown
    from synaptic.files import write_whole

    path = file_of(session, file) if file else newest(session)[0]
    result = await asyncio.to_thread(read, path)
    pictures = await asyncio.to_thread(plots, result, path_of(svg)) if svg else []
    if out:
        target = path_of(out)
        beside = [str(path) if path.parent.resolve() != target.parent.resolve() else path.name for path in pictures]
        await asyncio.to_thread(write_whole, target, markdown(result, beside))
    return shown(result)


@registry.command("bench compare", group="measure")
async def compare(
    session: Session,
    a: Annotated[str | None, Complete(kept)] = None,
    b: Annotated[str | None, Complete(kept)] = None,
    *,
    force: bool = False,
) -> Rows[Compared]:
    """Show how B differs from A: the ratio of each figure, its 95 % interval, and whether that is more than chance.

    B is the newest measurement where it is left out, and A the one before. Refused where the model or the profile differ,
    or where requests failed; --force compares all the same.

        bench compare
        bench compare before.json after.json

    See also: bench run, bench report
    """
    from synaptic.bench.kept import read
    from synaptic.bench.report.compared import compared

    left = file_of(session, a) if a else newest(session, 2)[1]
    right = file_of(session, b) if b else newest(session)[0]
    if left == right and not (a and b):
        raise UsageError(f"{left.stem} is the newest measurement itself", hint="name the other one: bench compare <a> <b>")
    one, other = await asyncio.to_thread(lambda: (read(left), read(right)))
    return compared(one, other, force=force)


@registry.command("bench import", group="measure")
async def import_(session: Session, file: str, *, out: str | None = None) -> Note:
    """Keep what another benchmark wrote as a measurement, to be reported, compared and held against targets.

    FILE is of `llama-bench -o json`, of `vllm bench serve --save-result` (--save-detailed keeps the single requests, and
    so the intervals), or of guidellm's JSON output; which one, its form says.

        bench import llama-bench.json

    See also: bench report, bench compare
    """
    from synaptic.bench.imports.imported import imported
    from synaptic.bench.kept import read_json, write

    path, state = path_of(file), session.environment.state_dir
    result = imported(await asyncio.to_thread(read_json, path, "name the file that the other benchmark wrote"), path)
    target = path_of(out) if out else state / "bench" / f"{result.id}.json" if state else None
    if target is None:
        raise SynapticError("there is no folder to keep it in", hint="name a file with --out")
    await asyncio.to_thread(write, result, target)
    return Note(f"{result.id} is kept: {target}", {"id": result.id, "path": target}, hint=f"try: bench report {target}")


@registry.command("bench link", group="measure")
async def link(
    session: Session, endpoint: Annotated[Endpoint, Complete(backends)], *, knocks: int = 50, no_bandwidth: bool = False
) -> Facts:
    """Measure the link to an rpc worker: round trips, and bytes a second. One that is in use is not touched.

    The bandwidth is that of a small synthetic model which llama-bench loads there; --no-bandwidth leaves it out.

        bench link 192.168.1.10
        bench link 192.168.1.10:50053 --knocks 200 --no-bandwidth

    See also: plan, profile probe
    """
    from synaptic.bench.figures import figure
    from synaptic.bench.report.tables import number
    from synaptic.cluster.knocks import knocks as knock

    if not 1 <= knocks <= MOST_KNOCKS:
        raise UsageError(f"--knocks is 1 to {MOST_KNOCKS}")
    await check_idle(session, endpoint)
    with session.bus.work(f"measuring the link to {endpoint}"):
        times = [seconds * 1000 for seconds in await knock(endpoint, knocks)]
        speed = None if no_bandwidth else await bandwidth(session, endpoint)
    said = figure([times])
    facts: list[tuple[str, str | Cell]] = [
        ("worker", str(endpoint)),
        ("round trip", f"{number(min(times))} ms at least, {number(said.mean)} ms on average, of {knocks}"),
        ("p50, p90, p99", f"{number(said.p50)}, {number(said.p90)}, {number(said.p99)} ms"),
        ("bandwidth", "not measured" if speed is None else f"{speed / 1e6:.0f} MB/s towards it, {speed * 8 / 1e9:.2f} Gbit/s"),
    ]
    data = {"endpoint": endpoint, "rtt_ms": said, "least_rtt_ms": min(times), "bytes_per_second": speed}
    return Facts(facts, data)


def file_of(session: Session, text: str) -> Path:
    """A path, or the id of a measurement that was kept."""
    path, folder = path_of(text), session.environment.state_dir
    if not path.exists() and folder and "/" not in text and (folder / "bench" / f"{text}.json").is_file():
        return folder / "bench" / f"{text}.json"
    return path


def newest(session: Session, least: int = 1) -> list[Path]:
    """The measurements that were kept, the last one first. Raises UsageError where there are fewer than `least`."""
    folder = session.environment.state_dir
    found = sorted((folder / "bench").glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True) if folder else []
    if len(found) < least:
        message = "only one measurement is kept so far" if found else "no measurement is kept yet"
        raise UsageError(message, hint="try: bench run, or name a file")
    return found


async def check_idle(session: Session, endpoint: Endpoint) -> None:
    from synaptic.cluster.backend import State

    session.know_backends()
    (answer,) = await session.pool.check([endpoint])
    if answer.state is not State.IDLE:
        raise BackendError(f"{endpoint} cannot be measured now: {answer.detail or answer.state.value}", hint="try: rpc check")


async def bandwidth(session: Session, endpoint: Endpoint) -> float | None:
    from synaptic.process.probe import Probe

    environment = session.environment
    if environment.cache_dir is None:
        raise EngineError("there is no folder for the model to measure with", hint="add --no-bandwidth")
    program = session.engines.require("llama-bench").path
    speed = await Probe(program, session.pool, environment.cache_dir / "probe", environment.variables).measure(endpoint)
    return speed.link
