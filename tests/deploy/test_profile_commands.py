"""profile, as it is typed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from synaptic.commands import profile  # noqa: F401 - declares them
from synaptic.commands.registry import registry
from synaptic.deploy.stream import read_bandwidth
from synaptic.environment import Environment
from synaptic.errors import BackendError, UsageError
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(
        Environment({"SYNAPTICLLAMAS_HOME": str(tmp_path)}, *(io.StringIO() for _ in range(3))), Settings.load(tmp_path / "s.json", {})
    )


async def document(session: Session, line: str) -> dict[str, object]:
    result = await registry.parse_line(line).run(session)
    return json.loads(json.dumps(result.as_json()))  # type: ignore[union-attr]


async def test_the_clusters_are_listed(session: Session) -> None:
    rows = (await document(session, "profile list"))["profiles"]
    assert {row["name"]: row["status"] for row in rows} == {  # type: ignore[union-attr]
        "arc-a770": "active",
        "beefcake": "active",
        "goldentooth": "active",
        "lab-local": "active",
        "ryzen-ai-395": "planned",
    }


async def test_a_profile_is_shown_with_its_sum(session: Session) -> None:
    shown = await document(session, "profile show goldentooth")
    assert len(shown["nodes"]) == 13
    assert len(shown["sha256"]) == 64
    assert shown["sha256"] == (await document(session, "profile validate goldentooth"))["sha256"]


async def test_a_bumped_version_differs_in_its_number_alone(session: Session) -> None:
    assert (await document(session, "profile bump beefcake"))["version"] == "0.1.1"
    changed = (await document(session, "profile diff beefcake@0.1 beefcake"))["diff"]
    assert [line for line in changed if line[0] in "+-"][2:] == ['- "version": "0.1",', '+ "version": "0.1.1",']  # type: ignore[union-attr]
    assert (await document(session, "profile diff beefcake beefcake"))["same"] is True


async def test_a_probe_writes_what_it_measured_into_the_next_version(session: Session) -> None:
    await document(session, "profile new mine")
    said = await document(session, "profile probe mine")
    shown = await document(session, "profile show mine")
    assert shown["version"] == "0.1.1"
    (kind,) = shown["node_classes"].values()
    assert kind["cpu"]["mem_bw_gbs"]["measured"] == said["measured"]["bandwidth"]
    assert kind["cpu"]["mem_bw_gbs"]["at"] == said["measured"]["at"]
    with pytest.raises(UsageError, match="which of its nodes is this machine"):
        await document(session, "profile probe beefcake")
    with pytest.raises(UsageError, match="no node is called nobody"):
        await document(session, "profile probe mine --node nobody")


async def test_a_probe_names_a_worker_that_does_not_answer(session: Session) -> None:
    with pytest.raises(BackendError, match=r"127\.0\.9\.9:1 cannot be measured now"):
        await document(session, "profile probe --on 127.0.9.9:1")


@pytest.mark.live
async def test_a_probe_measures_the_round_trip_to_a_worker(session: Session, rpc_worker) -> None:
    said = await document(session, f"profile probe --on {rpc_worker().endpoint}")
    assert 0 < said["rtt_us"] < 1e6


@pytest.mark.parametrize("name", ["../x", "UPPER", "", "x" * 64])
async def test_a_name_is_no_path(session: Session, name: str) -> None:
    with pytest.raises(UsageError):
        await registry.parse_words(["profile", "new", name]).run(session)


def test_twice_the_memory_takes_about_the_same_speed() -> None:
    assert read_bandwidth(1, size=1 << 22, rounds=2) > 1e8


async def test_a_plan_takes_the_machines_of_a_profile(session: Session) -> None:
    from synaptic.commands import plan  # noqa: F401 - declares it

    planned = await document(session, "plan demo --profile beefcake")
    assert planned["fits"] is True
    assert {share["endpoint"] for share in planned["shares"]} <= {"node2:50052", "node3:50052", None}  # type: ignore[union-attr]
    assert planned["available_bytes"] == 3 * 32 << 30
    with pytest.raises(UsageError, match="no profile is called nobody"):
        await document(session, "plan demo --profile nobody")
