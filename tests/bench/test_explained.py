"""A measurement against the cost model: its terms, what each machine does, what would help; and what is learned from it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from bench.measurements import result, sample

from synaptic.bench.calibrated import calibrated
from synaptic.bench.explained import expectations, explained
from synaptic.bench.kept import problem_of, read, write
from synaptic.bench.result import Identity, Result
from synaptic.commands import load
from synaptic.endpoint import Endpoint
from synaptic.errors import SynapticError, UsageError
from synaptic.models.model import Model
from synaptic.planning.expected import expected
from synaptic.planning.machine import Machine
from synaptic.planning.plan import Plan
from synaptic.planning.shape import Shape
from synaptic.planning.speeds import Speed
from synaptic.results import to_json

pytestmark = pytest.mark.anyio
registry = load()
WORKER = Endpoint("10.9.0.1", 50052)
SHAPE = Shape((10**8,) * 8, 10**8, 10**8, 512, 1024, 2816, 32000, 10**9, 10**9, "Q8_0")
MODEL = Model("m", "file", None, "llama", 10**9, 10**9, 8, 4096, "Q8_0", SHAPE.bytes, ("llama.cpp",))


def measured(gap: float = 40.0, *, slots: int = 1, profile: str | None = None, name: str = "one", round_trip: float = 0.0) -> Result:
    """Two at once, with 0.9 GB to be read for each token: what 100 GB/s would do in 12.7 ms took `gap` ms."""
    kept = result(*[[sample(100.0, gap)] * 20] * 3, profile=profile, name=name)
    machines = [Machine(WORKER, 1 << 40, Speed(100e9, round_trip, 1e9), round_trip)]
    now = expected(Plan(MODEL, (WORKER,), 2048, slots), SHAPE, machines)
    assert now
    return dataclasses.replace(kept, prediction=expectations(now, kept.points))


def test_each_load_has_its_prediction_and_its_measurement(tmp_path: Path) -> None:
    write(measured(), tmp_path / "a.json")
    assert problem_of(json.loads((tmp_path / "a.json").read_text())) == ""
    (found,) = explained(read(tmp_path / "a.json"))
    assert found.step == pytest.approx(0.040)
    assert found.said.slots == 1  # the second request waits: there is one slot
    assert found.measured.tokens_per_second == pytest.approx(25.0)
    assert found.measured.tokens == 4 * 60
    assert found.said.expected > 50


def test_with_slots_two_requests_are_at_work() -> None:
    (found,) = explained(measured(slots=2))
    assert found.said.slots == 2
    assert found.measured.tokens_per_second == pytest.approx(50.0)


def test_what_each_machine_does_is_the_terms_share_and_what_was_seen_there() -> None:
    kept = measured()
    seen = {
        "10.9.0.1": to_json({"every": 1.0, "seconds": 2.0, "overhead": 0.0, "series": [{"at": 1.0, "cpu": 30.0}, {"at": 2.0, "cpu": 50.0}]})
    }
    (found,) = explained(dataclasses.replace(kept, telemetry=seen))
    (busy,) = found.busy
    assert (busy.machine, busy.measured) == (str(WORKER), pytest.approx(0.4))
    assert busy.expected == pytest.approx(found.said.terms[0].seconds / found.said.step)
    on_gpu = to_json({"every": 1.0, "seconds": 1.0, "overhead": 0.0, "series": [{"at": 1.0, "cpu": 3.0, "gpus": [{"busy": 90.0}]}]})
    (found,) = explained(dataclasses.replace(kept, telemetry={"10.9.0.1": on_gpu}))
    assert found.busy[0].measured == pytest.approx(0.9)


def test_a_measurement_of_unknown_machines_is_not_explained() -> None:
    assert explained(result([sample()])) == []


def test_the_memorys_bandwidth_is_what_the_measurement_implies() -> None:
    """All but the memory takes 0.7 ms of the 40."""
    found = calibrated(measured(40.0))
    rest = sum(term.seconds for term in explained(measured(40.0))[0].said.terms if not term.is_work)
    assert found.bandwidth == pytest.approx(0.9e9 / (0.040 - rest) / 0.71)
    assert found.source == "bench one: 25 tok/s of m, by what it read for each token"


def test_where_the_network_takes_the_time_memory_is_not_blamed() -> None:
    with pytest.raises(UsageError, match="tells nothing of memory: network latency"):
        calibrated(measured(40.0, round_trip=0.036))


async def test_explain_a_measurement_as_it_is_typed(session_with, tmp_path: Path) -> None:
    write(measured(), tmp_path / "a.json")
    session = session_with()
    shown = (await registry.parse_line(f"explain {tmp_path}/a.json").run(session)).as_json()
    assert (shown["bench"], shown["mix"], shown["load"]) == ("one", "short", "2 at once")
    assert shown["bottleneck"].startswith(f"memory bandwidth of {WORKER}, 9")
    assert "cheapest fix: config set parallel 4 (+" in shown["bottleneck"]
    assert shown["fixes"][0]["effort"] == "a setting"
    with pytest.raises(UsageError, match="has short 2 at once"):
        await registry.parse_line(f"explain {tmp_path}/a.json --concurrency 7").run(session)
    write(result([sample()]), tmp_path / "b.json")
    with pytest.raises(UsageError, match="nothing was predicted for one"):
        await registry.parse_line(f"explain {tmp_path}/b.json").run(session)
    with pytest.raises(UsageError, match="no measurement is called photosynthesis") as caught:
        await registry.parse_line("explain photosynthesis").run(session)
    assert caught.value.prefill == "ask explain photosynthesis"


async def test_the_report_has_what_was_predicted_beside_what_came(session_with, tmp_path: Path) -> None:
    write(measured(), tmp_path / "a.json")
    shown = await registry.parse_line(f"bench report {tmp_path}/a.json --out {tmp_path}/a.md").run(session_with())
    (row,) = dict(shown.tables)["predicted"].cells()
    assert [cell.text for cell in row][3:5] == ["25.0", "1"]
    assert "## Predicted and measured" in (tmp_path / "a.md").read_text()


async def test_without_an_answer_there_is_nothing_to_explain(session_with) -> None:
    with pytest.raises(SynapticError, match="no answer has been predicted and measured yet"):
        await registry.parse_line("explain").run(session_with())


PROFILE = """schema: 1
name: two
version: "0.1"
status: active
about: a worker
networks: {lan: {kind: ethernet, cidr: 10.9.0.0/24, gbps: null, rtt_us: null}}
node_classes:
  kind:
    arch: x86_64
    cpu: {model: null, cores: null, mem_gib: null, mem_bw_gbs: {spec: 100, source: a data sheet, at: 2026-01-01}}
    os: {distro: null, systemd: null, cgroup: null}
nodes: {node1: {class: kind, addr: {lan: 10.9.0.1}}}
roles: {llama_rpc: [node1], llama_head: node1, monitoring: [node1]}
services: {network: lan, models: {dir: /srv/models}, llama_head: {model: /srv/models/m.gguf}}
"""


async def test_a_profile_learns_from_a_measurement_that_names_it(session_with, tmp_path: Path) -> None:
    (tmp_path / "data" / "hardware" / "two").mkdir(parents=True)
    (tmp_path / "data" / "hardware" / "two" / "v0.1.yaml").write_text(PROFILE)
    session = session_with()
    write(dataclasses.replace(measured(40.0), at=1.8e9, profile=Identity("two", "c" * 64, "0.1")), tmp_path / "a.json")
    note = (await registry.parse_line(f"profile bump two --bench {tmp_path}/a.json").run(session)).as_json()
    assert note["version"] == "0.1.1"
    shown = (await registry.parse_line("profile show two").run(session)).as_json()
    number = shown["node_classes"]["kind"]["cpu"]["mem_bw_gbs"]
    assert number["spec"] == 100
    assert number["measured"] == pytest.approx(calibrated(measured(40.0)).bandwidth / 1e9, abs=0.1)
    assert (number["at"], number["source"][:10]) == ("2027-01-15", "bench one:")
    write(measured(40.0), tmp_path / "b.json")
    with pytest.raises(UsageError, match="one was measured on no profile, not on two"):
        await registry.parse_line(f"profile bump two --bench {tmp_path}/b.json").run(session)
