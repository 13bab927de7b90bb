"""profile, as it is typed."""

from __future__ import annotations

import copy
import io
import json
import os
from pathlib import Path

import pytest

from synaptic.commands import deploy, profile  # noqa: F401 - declares them
from synaptic.commands.registry import registry
from synaptic.deploy.profile.accelerators import listed
from synaptic.deploy.profile.bandwidth import read_bandwidth
from synaptic.deploy.profile.measure import Link, Measured
from synaptic.deploy.profile.write import write_devices, written_into
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


async def test_every_network_and_who_controls_the_nodes_are_shown(session: Session) -> None:
    shown = await registry.parse_line("profile show arc-a770").run(session)
    said = dict(shown.facts)  # type: ignore[union-attr]
    assert said["control"] == "control_0_1"
    assert said["network"].startswith("lan, ethernet: addresses not known, speed not known; usb4, usb4: ")  # type: ignore[union-attr]


async def test_an_accelerator_that_nothing_drives_is_said_to_be_unsupported(session: Session, tmp_path: Path) -> None:
    shown = await registry.parse_line("profile show ryzen-ai-395").run(session)
    ((_, nodes),) = shown.tables  # type: ignore[union-attr]
    assert {nodes.columns["devices"](node) for node in nodes.items} == {"XDNA 2 (unsupported)"}
    said = await registry.parse_line(f"deploy render ryzen-ai-395 --out {tmp_path}/out").run(session)
    assert said.text.endswith("it is planned, not built.")  # type: ignore[union-attr]


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
    with pytest.raises(UsageError, match="which of its machines is this one"):
        await document(session, "profile probe beefcake")
    with pytest.raises(UsageError, match="no node is called nobody"):
        await document(session, "profile probe mine --node nobody")


async def test_a_probe_names_a_worker_that_does_not_answer(session: Session) -> None:
    with pytest.raises(BackendError, match=r"127\.0\.9\.9:1 cannot be measured now"):
        await document(session, "profile probe --on 127.0.9.9:1")


@pytest.mark.live
async def test_a_probe_measures_the_round_trip_to_a_worker(session: Session, rpc_worker) -> None:
    said = await document(session, f"profile probe --on {rpc_worker().endpoint} --no-bandwidth")
    assert 0 < said["rtt_us"] < 1e6


DEVICES = """\
#!/bin/sh
cat <<END
ggml_cuda_init: found 2 CUDA devices
Available devices:
  CUDA0: Tesla V100S-PCIE-32GB (32510 MiB, 32131 MiB free)
  CUDA1: Tesla V100S-PCIE-32GB (32510 MiB, 32131 MiB free)
  BLAS0: OpenBLAS (0 MiB, 0 MiB free)
END
"""


@pytest.fixture
def with_engine(tmp_path: Path) -> Path:
    program = tmp_path / "llama-server"
    program.write_text(DEVICES)
    program.chmod(0o755)
    return program


async def test_accelerators_are_those_that_the_engine_lists(session: Session, with_engine: Path) -> None:
    assert isinstance(session.environment.variables, dict)
    session.environment.variables["LLAMA_SERVER"] = str(with_engine)
    await document(session, "profile new gpus")
    (kind,) = (await document(session, "profile show gpus"))["node_classes"].values()  # type: ignore[union-attr]
    assert [(each["id"], each["vendor"], each["backend"], each["mem_gib"]["measured"]) for each in kind["devices"]] == [
        ("cuda0", "nvidia", ["cuda"], 31.75),
        ("cuda1", "nvidia", ["cuda"], 31.75),
    ]


def test_memory_is_written_only_where_it_is_plain_which_device_is_which(with_engine: Path) -> None:
    found = listed(with_engine)
    two = [{"id": name, "backend": ["cuda"], "mem_gib": {"spec": 32, "source": "data sheet", "at": "2026-11-21"}} for name in "ab"]
    three = [*two, {"id": "c", "backend": ["cuda"]}]
    before = copy.deepcopy(three)
    write_devices(three, found, "2026-11-21")
    assert three == before
    write_devices(two, found, "2026-11-21")
    assert [(each["mem_gib"]["spec"], each["mem_gib"]["measured"]) for each in two] == [(32, 31.75)] * 2  # type: ignore[index]
    assert listed(with_engine.with_name("nothing")) == ()


LINKED = """\
schema: 1
name: linked
version: "0.1"
status: active
networks:
  lan: {kind: loopback, cidr: 127.0.0.0/8, gbps: {spec: 1, source: data sheet, at: 2026-11-21}}
  usb4: {kind: usb4, cidr: null}
node_classes: {box: {}}
nodes: {a: {class: box, addr: {lan: 127.0.50.1}}, b: {class: box, addr: {lan: 127.0.50.2, usb4: 127.0.50.3}}}
roles: {llama_rpc: [a, b]}
"""


def test_a_link_counts_for_the_network_of_its_address_and_the_slowest_for_all() -> None:
    import platform

    import yaml

    values = yaml.safe_load(LINKED.replace("box: {}", f"box: {{arch: {platform.machine()}}}"))
    found = Measured(platform.machine(), None, 2, 1.0, 1.0, None, None, None, (), "2026-11-21")
    links = [Link("127.0.50.1", 100.0, 2e9), Link("127.0.50.2", 300.0, 1e8), Link("127.0.50.3", 50.0), Link("127.0.50.99", 10.0)]
    networks = yaml.safe_load(written_into(values, "a", found, version="0.2", links=links))["networks"]
    assert networks["lan"]["rtt_us"]["measured"] == 300.0
    assert networks["lan"]["gbps"] | {"source": ""} == {"spec": 1, "measured": 0.8, "source": "", "at": "2026-11-21"}
    assert networks["usb4"]["rtt_us"]["measured"] == 50.0
    assert "gbps" not in networks["usb4"]  # not measured, so not said


@pytest.mark.live
async def test_a_probe_measures_the_link_to_a_worker_and_writes_it_down(session: Session, rpc_worker, tmp_path: Path) -> None:
    if not (bench := os.environ.get("LLAMA_BENCH")):
        pytest.skip("LLAMA_BENCH names no program; ./scripts/test builds the engine and sets it")
    assert isinstance(session.environment.variables, dict)
    session.environment.variables["LLAMA_BENCH"] = bench
    await document(session, "profile new mine")
    said = await document(session, f"profile probe mine --on {rpc_worker().endpoint}")
    (link,) = said["links"]  # type: ignore[misc]
    lan = (await document(session, "profile show mine"))["networks"]["lan"]  # type: ignore[index]
    assert (lan["gbps"]["measured"], lan["rtt_us"]["measured"]) == (link["gbps"], link["rtt_us"])
    assert lan["gbps"]["source"] == "weights that llama-bench sent to its workers"
    assert 0.01 < lan["gbps"]["measured"] < 1e4


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
