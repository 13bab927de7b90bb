"""bench report, compare, import and link, as they are typed."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from bench.measurements import result, sample

from synaptic.bench.kept import problem_of, read, write
from synaptic.bench.report.plots import plots
from synaptic.bench.sample import DEFINITIONS
from synaptic.commands import load
from synaptic.errors import BackendError, SynapticError, UsageError
from synaptic.results import Facts, Note, Rows

pytestmark = pytest.mark.anyio
registry = load()
RUNS = [[sample(100.0 + step)] * 2 for step in range(3)]
LLAMA_BENCH = [
    {"model_filename": "/m/demo.gguf", "model_type": "llama", "n_prompt": 64, "n_gen": 0, "avg_ts": 200.0, "samples_ts": [190.0, 210.0]},
    {"model_filename": "/m/demo.gguf", "model_type": "llama", "n_prompt": 0, "n_gen": 16, "avg_ts": 50.0, "samples_ts": [49.0, 51.0]},
]


async def type_line(session, line: str):
    return await registry.parse_line(line).run(session)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    kept = result(*RUNS)
    write(kept, tmp_path / "a.json")
    assert read(tmp_path / "a.json") == kept
    assert problem_of(json.loads((tmp_path / "a.json").read_text())) == ""


@pytest.mark.parametrize("text", ["[]", "{}", "no json", '{"schema": "synaptic.bench/1"}', "[" * 100_000])
def test_what_is_no_measurement_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UsageError, match="is no "):
        read(tmp_path / "a.json")


async def test_the_report_defines_its_words_and_marks_foreign_ones(session_with, tmp_path: Path) -> None:
    write(result(*RUNS), tmp_path / "a.json")
    shown = await type_line(session_with(), f"bench report {tmp_path}/a.json --out {tmp_path}/a.md")
    assert isinstance(shown, Facts)
    written = (tmp_path / "a.md").read_text()
    for word, meaning in DEFINITIONS.items():
        assert f"- **{word}**: {meaning}" in written
    assert "| short | 2 at once | 101 ± " in written
    assert written.count("n/a") >= 4 * 4  # six requests are too few for any percentile of ttft, tpot and e2e


async def test_the_report_says_what_was_asked_what_the_machines_did_and_what_watching_cost(session_with, tmp_path: Path) -> None:
    moments = [{"at": 10.0 + step, "cpu": 20.0 * step, "memory": 2 << 30, "sent": 3_000_000, "received": 0} for step in range(3)]
    queue = [{"at": 10.0, "running": 2.0, "waiting": 1.0}]
    kept = dataclasses.replace(
        result(*RUNS),
        config={
            "mixes": ["short"],
            "warm_up": 3,
            "context": None,
            "preflight": [{"what": "busy", "detail": "30% of it", "is_serious": False}],
        },
        telemetry={
            "this machine": {"every": 1.0, "seconds": 3.0, "overhead": 0.0125, "series": moments},
            "requests at http://10.0.0.1:8000": {"every": 1.0, "seconds": 3.0, "overhead": 0.0, "series": queue},
        },
    )
    write(kept, tmp_path / "a.json")
    await type_line(session_with(), f"bench report {tmp_path}/a.json --out {tmp_path}/a.md")
    written = (tmp_path / "a.md").read_text()
    assert "- asked for: mixes short, warm up 3\n" in written
    assert "- overhead: watching this machine took 1.25% of one core" in written
    assert "| this machine | 3 | 20%, at most 40% | – | 2 GiB | 3.00 MB/s | 0.00 MB/s | – |" in written
    assert "| requests at http://10.0.0.1:8000 | 1 | – | – | – | – | – | 2.0 at work, 1.0 waiting |" in written
    assert "- busy: 30% of it" in written


async def test_compare_as_it_is_typed(session_with, tmp_path: Path) -> None:
    write(result(*RUNS), tmp_path / "a.json")
    write(result(*RUNS, model="b" * 64), tmp_path / "b.json")
    with pytest.raises(UsageError, match="models differ"):
        await type_line(session_with(), f"bench compare {tmp_path}/a.json {tmp_path}/b.json")
    rows = await type_line(session_with(), f"bench compare {tmp_path}/a.json {tmp_path}/b.json --force")
    assert isinstance(rows, Rows)
    document = rows.as_json()
    assert document["compared"][0].keys() >= {"metric", "ratio", "ci95", "p", "significant", "verdict"}
    assert "models differ" in document["forced"][0]


async def test_llama_bench_is_imported_and_reported_by_its_id(session_with, tmp_path: Path) -> None:
    (tmp_path / "lb.json").write_text(json.dumps(LLAMA_BENCH))
    session = session_with()
    note = await type_line(session, f"bench import {tmp_path}/lb.json")
    assert isinstance(note, Note)
    shown = await type_line(session, f"bench report {note.data['id']}")
    prompt, answer = shown.as_json()["shapes"]
    assert (prompt["mix"], answer["mix"]) == ("llama-bench pp64", "llama-bench tg16")
    assert answer["throughput"]["mean"] == 50.0
    assert answer["throughput"]["ci95"] == pytest.approx([50 - 12.7062, 50 + 12.7062], abs=1e-3)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UsageError, match="not what llama-bench, vllm"):
        await type_line(session, f"bench import {tmp_path}/bad.json")


async def test_a_home_that_is_nobodys_is_a_file_that_is_not_there(session_with) -> None:
    with pytest.raises(UsageError, match="cannot read ~nobody-is-called-so/a.json"):
        await type_line(session_with(), "bench report ~nobody-is-called-so/a.json")


async def test_without_a_name_it_is_the_newest_measurement(session_with, tmp_path: Path) -> None:
    session = session_with()
    for line in ("bench report", "bench compare"):
        with pytest.raises(UsageError, match="no measurement is kept yet") as caught:
            await type_line(session, line)
        assert "bench run" in str(caught.value.hint)
    folder = session.environment.state_dir / "bench"
    write(result(*RUNS, name="first"), folder / "first.json")
    assert (await type_line(session, "bench report")).data["id"] == "first"
    for line, why in (("bench compare", "only one measurement is kept so far"), ("bench compare first", "first is the newest measurement")):
        with pytest.raises(UsageError, match=why):
            await type_line(session, line)
    slower = [[sample(200.0 + step)] * 2 for step in range(3)]
    write(result(*slower, name="another"), folder / "another.json")
    os.utime(folder / "first.json", (1, 1))
    assert (await type_line(session, "bench report")).data["id"] == "another"
    for line in ("bench compare", "bench compare first"):
        rows = await type_line(session, line)
        assert isinstance(rows, Rows)
        (ttft,) = [each for each in rows.items if each.metric == "ttft"]
        assert (ttft.a, ttft.b) == (101.0, 201.0), "the newest against the one before"


def test_plots_are_svg_or_say_what_is_missing(tmp_path: Path) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        with pytest.raises(SynapticError, match="plots need matplotlib"):
            plots(result(*RUNS), tmp_path)
        return
    paths = plots(result(*RUNS), tmp_path)
    assert [path.read_text().count("<svg") for path in paths] == [1, 1, 1]


@pytest.mark.live
async def test_the_link_to_a_worker_which_serves_on_afterwards(session_with, rpc_worker) -> None:
    worker, session = rpc_worker(), session_with()
    shown = await type_line(session, f"bench link {worker.endpoint} --knocks 20 --no-bandwidth")
    document = shown.as_json()
    assert document["rtt_ms"]["n"] == 20
    assert 0 < document["least_rtt_ms"] <= document["rtt_ms"]["p50"]
    assert document["bytes_per_second"] is None
    (again,) = await session.pool.check([worker.endpoint])
    assert again.is_ready
    assert worker.process.poll() is None


async def test_a_link_to_nobody_is_no_link(session_with, free_port: int) -> None:
    with pytest.raises(BackendError, match="cannot be measured now"):
        await type_line(session_with(), f"bench link 127.0.0.1:{free_port}")
