"""targets: what is wanted, whether it can be, and whether it is."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.bench_report import file_of, kept
from synaptic.commands.grammar import Complete, Completion
from synaptic.commands.registry import registry
from synaptic.errors import UsageError
from synaptic.results import Cell, Rows, Style

if TYPE_CHECKING:
    from synaptic.bench.result import Result
    from synaptic.bench.targets import Bound, Target, Targets
    from synaptic.session import Session


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`predicted`: (low, high), None where the cost model knows nothing. `can_target`, `can_accept`: whether it can be reached."""

    metric: str
    unit: str
    statistic: str
    target: Bound
    acceptable: Bound
    critical: Bound | None
    can_target: str
    can_accept: str
    predicted: tuple[float, float] | None
    measured: float | None
    verdict: str
    is_critical: bool
    why: str


def known(session: Session) -> list[Completion]:
    from synaptic.bench.targets import built_in, files

    return [*((path.stem, "shipped") for path in files()), *((each.name, each.about) for each in built_in())]


@registry.command("targets list", group="measure")
async def list_(session: Session) -> Rows[Targets]:
    """Show the targets that are shipped: an example, and MLPerf's limits.

    See also: targets check
    """
    from synaptic.bench.targets import built_in, files, read

    found = await asyncio.to_thread(lambda: [*map(read, files()), *built_in()])
    return Rows(
        key="targets",
        items=found,
        columns={"name": lambda each: each.name, "about": lambda each: each.about, "source": lambda each: each.source},
    )


@registry.command("targets check", group="measure")
async def check(
    session: Session,
    targets: Annotated[str, Complete(known)],
    file: Annotated[str | None, Complete(kept)] = None,
    *,
    mix: str | None = None,
    concurrency: int | None = None,
) -> Rows[Verdict]:
    """Say of each target whether it can be reached, by the cost model, and with FILE, a measurement, whether it is.

    PASS: the target is reached; WARN: it is acceptable; FAIL: it is neither. The exit code is 1 after a FAIL; without
    a measurement, when something that was asked for is impossible. TARGETS is a name or a file; of several loads
    --mix and --concurrency choose one.

        targets check beefcake-72b-q8_0
        targets check mlperf-llama-3.1-8b before.json

    See also: bench run, plan
    """
    from synaptic.bench.kept import read
    from synaptic.bench.targets import FAIL, find

    wanted = await asyncio.to_thread(find, targets)
    result = await asyncio.to_thread(read, file_of(session, file)) if file else None
    result = _chosen(result, mix, concurrency) if result else None
    verdicts = [_verdict(wanted, target, result) for target in wanted.targets]
    is_bad = any(each.verdict == FAIL if result else "impossible" in (each.can_target, each.can_accept) for each in verdicts)
    return _rows(wanted, verdicts, result, int(is_bad))


def _chosen(result: Result, mix: str | None, concurrency: int | None) -> Result:
    """With that one of its points alone which is meant. Raises UsageError."""
    fitting = [point for point in result.points if mix in (None, point.mix) and (concurrency is None or point.concurrency == concurrency)]
    if len(fitting) != 1:
        raise UsageError(f"{result.id} has {len(fitting)} loads that fit", hint="name one with --mix and --concurrency")
    return dataclasses.replace(result, points=tuple(fitting))


def _verdict(wanted: Targets, target: Target, result: Result | None) -> Verdict:
    from synaptic.bench.feasible import SILENT, reach
    from synaptic.bench.targets import measured

    said = reach(wanted.subject, target) if wanted.subject else None
    value = measured(target, result, result.points[0]) if result else None
    return Verdict(
        metric=target.metric,
        unit=target.unit,
        statistic=target.statistic,
        target=target.target,
        acceptable=target.acceptable,
        critical=target.critical,
        can_target=said.of(target.target) if said else SILENT,
        can_accept=said.of(target.acceptable) if said else SILENT,
        predicted=(said.low, said.high) if said else None,
        measured=value,
        verdict=target.verdict(value),
        is_critical=bool(target.critical and value is not None and target.critical.holds(value)),
        why=said.why if said else "",
    )


def _rows(wanted: Targets, verdicts: list[Verdict], result: Result | None, exit_code: int) -> Rows[Verdict]:
    return Rows(
        key="verdicts",
        items=verdicts,
        columns={
            "metric": lambda each: f"{each.metric}{'' if each.statistic == 'mean' else ' ' + each.statistic}, {each.unit}",
            "target": lambda each: str(each.target),
            "can be": lambda each: _reachable(each.can_target),
            "acceptable": lambda each: str(each.acceptable),
            "can be ": lambda each: _reachable(each.can_accept),
            "predicted": lambda each: "n/a" if each.predicted is None else f"{_short(each.predicted[0])} to {_short(each.predicted[1])}",
            "measured": lambda each: "n/a" if each.measured is None else _short(each.measured),
            "verdict": _shown,
            "why": lambda each: each.why,
        },
        data={"targets": wanted.name, "about": wanted.about, "source": wanted.source, "measurement": result.id if result else None},
        summary=f"{wanted.name}: {wanted.about}",
        exit_code=exit_code,
    )


def _reachable(word: str) -> Cell:
    styles: dict[str, Style] = {"expected": "good", "open": "attention", "not expected": "bad", "impossible": "bad"}
    return Cell(word, styles.get(word, "dim"))


def _shown(each: Verdict) -> Cell:
    styles: dict[str, Style] = {"PASS": "good", "WARN": "attention", "FAIL": "bad"}
    return Cell(f"{each.verdict}, critical" if each.is_critical else each.verdict, styles.get(each.verdict, "dim"))


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
