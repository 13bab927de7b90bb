"""A rendered folder: whole or not at all, the same each time, and looked at again."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from pathlib import Path

import pytest
import yaml

from synaptic.commands import deploy, deploy_check  # noqa: F401 - declares them
from synaptic.commands.registry import registry
from synaptic.deploy.files.render import TARGETS, File, render, write
from synaptic.deploy.profile.profiles import Profiles
from synaptic.environment import Environment
from synaptic.errors import SynapticError, UsageError
from synaptic.results import Rows
from synaptic.session import Session
from synaptic.settings import Settings
from synaptic.shipped import shipped

PROFILES = Profiles(shipped("hardware"), None, None)
CLUSTERS = ["arc-a770", "beefcake", "goldentooth", "lab-local", "ryzen-ai-395"]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(
        Environment({"SYNAPTICLLAMAS_HOME": str(tmp_path / "home")}, *(io.StringIO() for _ in range(3))),
        Settings.load(tmp_path / "s.json", {}),
    )


async def run(session: Session, *words: str) -> dict[str, object]:
    result = await registry.parse_words(words).run(session)
    return json.loads(json.dumps(result.as_json()))  # type: ignore[union-attr]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_every_cluster_can_be_rendered_and_is_so_again(cluster: str, target: str, tmp_path: Path) -> None:
    files = render(PROFILES.profile(cluster), target)
    write(files, tmp_path / "out")
    assert {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()} == set(files)
    assert render(PROFILES.profile(cluster), target) == files
    for path, file in files.items():
        assert "{{" not in file.text or "roles/" in path or path == "site.yml", path
        if path.endswith((".yml", ".yaml")):
            yaml.safe_load(file.text)
        if path.endswith(".json"):
            json.loads(file.text)


def test_an_earlier_rendering_is_replaced_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(render(PROFILES.profile("beefcake"), "systemd"), out)
    write(render(PROFILES.profile("lab-local"), "nohup"), out)
    assert {path.name for path in out.iterdir()} == {"local", "manifest.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_was_not_rendered_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UsageError, match="holds something that was not rendered"):
        write(render(PROFILES.profile("lab-local"), "nohup"), tmp_path)
    with pytest.raises(UsageError, match="is no folder"):
        write({}, tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_cannot_be_written_leaves_the_old_folder_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(render(PROFILES.profile("lab-local"), "nohup"), out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(SynapticError, match="cannot write"):
        write({"a": File("x"), "a/b": File("y")}, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    files = render(PROFILES.profile("beefcake"), "systemd")
    write(files, tmp_path / "out")

    def again() -> None:
        with contextlib.suppress(SynapticError):  # the other one was faster
            write(files, tmp_path / "out")

    crew = [threading.Thread(target=again) for _ in range(4)]
    for each in crew:
        each.start()
    for each in crew:
        each.join()
    assert {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()} == set(files)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_compose_keeps_a_dollar_and_mounts_what_is_read() -> None:
    files = render(PROFILES.profile("beefcake"), "compose")
    head = yaml.safe_load(files["node1/compose.yaml"].text)["services"]["llama-head"]
    assert head["entrypoint"][0] == "/usr/local/bin/llama-server"
    assert "/opt/models:/opt/models:ro" in head["volumes"]
    assert head["cap_drop"] == ["ALL"]
    worker = yaml.safe_load(files["node2/compose.yaml"].text)["services"]["llama-rpc"]
    assert "healthcheck" not in worker


def test_the_cluster_alone_may_reach_a_worker() -> None:
    files = render(PROFILES.profile("beefcake"), "systemd")
    assert "tcp dport { 50052 } ip saddr != 10.0.0.0/24 drop" in files["node2/etc/nftables.d/llama.nft"].text
    assert "dport" not in files["node1/etc/nftables.d/llama.nft"].text
    unknown = render(PROFILES.profile("arc-a770"), "systemd")
    assert "ip saddr != { node0, node1 } drop" in unknown["node1/etc/nftables.d/llama.nft"].text


def test_consul_is_told_by_the_node_and_knocks_at_no_worker() -> None:
    for cluster in CLUSTERS:
        for path, file in render(PROFILES.profile(cluster), "systemd").items():
            if path.endswith("consul.d/llama.json"):
                for service in json.loads(file.text)["services"]:
                    kinds = [next(kind for kind in ("ttl", "http", "tcp", "args") if kind in check) for check in service["checks"]]
                    assert kinds == (["ttl", "http"] if service["id"] == "llama-head" else ["ttl"])


def test_a_type_of_zeroconf_is_no_longer_than_fifteen_letters() -> None:
    for cluster in CLUSTERS:
        for path, file in render(PROFILES.profile(cluster), "systemd").items():
            if path.endswith(".dnssd"):
                (kind,) = [line for line in file.text.splitlines() if line.startswith("Type=")]
                assert len(kind.removeprefix("Type=_").partition(".")[0]) <= 15


@pytest.mark.anyio
async def test_a_rendering_refers_to_its_profile_and_is_checked(session: Session, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    said = await run(session, "deploy", "render", "lab-local", "--out", out)
    assert said["sha256"] == PROFILES.profile("lab-local").sha256
    assert (await run(session, "deploy", "check", out))["findings"] == []
    unit = tmp_path / "out/local/etc/systemd/system/llama-rpc.service"
    unit.write_text(unit.read_text() + "CPUQuota=80%\n")
    (tmp_path / "out/extra").write_text("")
    (tmp_path / "out/local/usr/local/bin/llama-resolve").unlink()
    await run(session, "profile", "bump", "lab-local")
    result = await registry.parse_words(["deploy", "check", out]).run(session)
    assert isinstance(result, Rows)
    assert result.exit_code == 1
    assert {finding.why for finding in result.items} == {
        "was changed after it was rendered",
        "was not rendered",
        "is missing",
        "lab-local@0.1.1 is newer",
    }


@pytest.mark.anyio
@pytest.mark.parametrize("manifest", ["", "[]", '{"files": 1}', '{"profile": "x", "sha256": "", "target": "", "version": "", "files": []}'])
async def test_a_folder_that_was_not_rendered_is_said_to_be_none(session: Session, tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(UsageError, match="was not rendered"):
        await run(session, "deploy", "check", str(tmp_path))


@pytest.mark.anyio
async def test_with_a_model_the_plan_sets_the_limits(session: Session, tmp_path: Path) -> None:
    said = await run(session, "deploy", "render", "lab-local", "--model", "demo", "--out", str(tmp_path / "out"))
    assert said["plan"] == "4 layers on 127.0.0.1:50052"
    assert "MemoryMax=" in (tmp_path / "out/local/etc/systemd/system/llama-rpc.service").read_text()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("llama_head: local", "llama_head: nobody", "line 29: roles.llama_head: no node is called nobody"),
        ("class: small,", "class: big,", "line 26: nodes.local.class: no node class is called big"),
        ("arch: x86_64", "like: small", "line 17: node_classes.small.like: a cycle"),
        ("addr: {loopback: 127.0.0.1}", "addr: {}", "line 26: nodes.local.addr"),
        ("measured: 23.5", "measured: 23.5 GB", "line 21: node_classes.small.cpu.mem_gib"),
        ("port: 8080", "port: 50052", "line 35: services.llama_head.port: port 50052 on local"),
        ("model: /srv", "model: srv", "line 35: services.llama_head.model"),
    ],
)
async def test_bad_input_names_its_line_and_leaves_no_folder(session: Session, tmp_path: Path, old: str, new: str, said: str) -> None:
    text = shipped("hardware", "lab-local", "v0.1.yaml").read_text()
    assert old in text
    (tmp_path / "bad.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        await run(session, "deploy", "render", str(tmp_path / "bad.yaml"), "--out", str(tmp_path / "deep/out"))
    assert said in str(caught.value)
    assert not (tmp_path / "deep").exists()


@pytest.mark.anyio
async def test_the_inventory_is_what_ansible_asks_a_program_for(session: Session) -> None:
    document = await run(session, "deploy", "inventory", "goldentooth")
    assert document["dllama_root"] == {"hosts": ["bettley"]}
    assert len(document["dllama_worker"]["hosts"]) == 7  # type: ignore[index]
    assert document["_meta"]["hostvars"]["velaryon"]["llama_node_arch"] == "x86_64"  # type: ignore[index]
    assert document["llama_control"] == {"hosts": ["bettley"]}


@pytest.mark.anyio
async def test_whom_the_nodes_tell_is_said_by_the_profile(session: Session) -> None:
    """In both forms of an inventory; a profile that says nothing leaves it to the role."""
    document = await run(session, "deploy", "inventory", "goldentooth")
    assert document["monitoring"]["vars"] == {"monitoring_consul": True}  # type: ignore[index]
    assert "vars" not in (await run(session, "deploy", "inventory", "beefcake"))["monitoring"]  # type: ignore[operator]
    written = yaml.safe_load(render(PROFILES.profile("goldentooth"), "ansible")["inventory.yml"].text)
    assert written["all"]["children"]["monitoring"]["vars"] == {"monitoring_consul": True}


@pytest.mark.anyio
async def test_a_head_gets_the_slots_and_the_context_that_are_asked_for(session: Session, tmp_path: Path) -> None:
    out = str(tmp_path / "out")

    async def head(*words: str) -> str:
        await run(session, "deploy", "render", "beefcake", "--out", out, *words)
        return (tmp_path / "out/node1/etc/systemd/system/llama-head.service").read_text()

    assert " --parallel 1 --ctx-size 4096 " in await head()
    assert " --parallel 3 --ctx-size 24576 " in await head("--parallel", "3", "--ctx", "8192")  # the whole of it: a third for each
    assert " --parallel 2 --ctx-size 1024 " in await head("--parallel", "2", "--model", "demo")  # no more than the model can
    with pytest.raises(UsageError, match="has no head of llama.cpp"):
        await run(session, "deploy", "render", "goldentooth", "--out", out, "--parallel", "3")
    with pytest.raises(UsageError, match="whole numbers from 1 on"):
        await run(session, "deploy", "render", "beefcake", "--out", out, "--ctx", "0")


@pytest.mark.anyio
async def test_what_is_to_be_enabled_is_said_workers_first(session: Session, tmp_path: Path) -> None:
    said = await registry.parse_words(["deploy", "render", "beefcake", "--out", str(tmp_path / "out")]).run(session)
    units = said.hint.splitlines()[-1].strip()  # type: ignore[union-attr]
    assert units == "units: llama-rpc on node2, node3, then llama-node-agent.timer on node1, node2, node3, then llama-head on node1"
