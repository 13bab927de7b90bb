"""Decisions, and what measurements make of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.measurements import result, sample

from synaptic.bench.kept import write
from synaptic.commands import load
from synaptic.errors import UsageError
from synaptic.results import Rows

pytestmark = pytest.mark.anyio
registry = load()


async def verdicts(session) -> dict[str, str]:
    rows = await registry.parse_line("decision verify").run(session)
    assert isinstance(rows, Rows)
    return {each["decision"]["name"]: each["verdict"] for each in rows.as_json()["decisions"]}


async def test_the_shipped_ones_are_unknown_until_someone_measures(session_with) -> None:
    assert await verdicts(session_with()) == {"q8_0-over-q4_k_m": "unknown", "systemd-over-nohup": "unknown", "parallel-1": "unknown"}


@pytest.mark.parametrize(("metric", "least", "verdict"), [("ttft", 1.5, "confirmed"), ("ttft", 3, "refuted"), ("throughput", 1, "unknown")])
async def test_stored_measurements_decide(session_with, tmp_path: Path, metric: str, least: float, verdict: str) -> None:
    session = session_with()
    for name, ttft in (("a", 100.0), ("b", 50.0)):
        counts = (2, 3, 2) if name == "a" else (3, 2, 2)
        runs = [[sample(ttft + step)] * count for step, count in enumerate(counts)]
        write(result(*runs, name=name), tmp_path / "state" / "bench" / f"{name}.json")
    line = f"decision add quick 'b is quicker' --metric {metric} --at-least {least} --a a --b b"
    await registry.parse_line(line).run(session)
    assert (await verdicts(session))["quick"] == verdict


async def test_evidence_that_is_gone_proves_nothing(session_with) -> None:
    session = session_with()
    await registry.parse_line("decision add quick 'b is quicker' --metric ttft --at-least 2 --a gone --b lost").run(session)
    assert (await verdicts(session))["quick"] == "unknown"


@pytest.mark.parametrize("line", ["x y --a one", "x y --metric ttft", "X! y", "x y --metric ttft --at-least 0"])
async def test_half_a_decision_is_none(session_with, line: str) -> None:
    with pytest.raises(UsageError):
        await registry.parse_line(f"decision add {line}").run(session_with())


async def test_the_report_says_what_is_known_of_each(session_with, tmp_path: Path) -> None:
    await registry.parse_line(f"decision report --out {tmp_path}/d.md").run(session_with())
    text = (tmp_path / "d.md").read_text()
    assert text.count("- verdict: unknown, ") == 3
    assert "## parallel-1" in text
