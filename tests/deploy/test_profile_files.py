"""Profiles as files: what is read, what is refused and where, and that a version which something refers to stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from synaptic.deploy.profile.document import LIMIT, document_of
from synaptic.deploy.profile.profile import Profile
from synaptic.deploy.profile.profiles import Profiles
from synaptic.deploy.profile.read import profile_of
from synaptic.errors import UsageError
from synaptic.shipped import shipped

SHIPPED = ["arc-a770@0.1", "beefcake@0.1", "goldentooth@0.1", "lab-local@0.1", "ryzen-ai-395@0.2"]
GOOD = """\
schema: 1
name: two
version: "0.1"
status: active
networks:
  lan: {kind: ethernet, cidr: 10.0.0.0/24, gbps: {spec: 2.5, source: data sheet, at: 2026-11-21}}
node_classes:
  box:
    arch: x86_64
    cpu: {mem_gib: {spec: 64, measured: 62.5, source: the system, at: 2026-11-21}}
  bigger: {like: box, cpu: {mem_gib: null}}
nodes:
  a: {class: box, addr: {lan: 10.0.0.10}}
  b: {class: bigger, addr: {lan: 10.0.0.11}}
roles:
  llama_head: a
  llama_rpc: [b]
services:
  network: lan
"""


def read(text: str) -> Profile:
    return profile_of(document_of(Path("two.yaml"), text))


def refused(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    return Profiles(shipped("hardware"), tmp_path / "own", tmp_path / "profiles.json")


def test_every_shipped_profile_is_one(profiles: Profiles) -> None:
    read = [profiles.profile(str(path)) for path in profiles.files()]
    assert [profile.label for profile in read] == SHIPPED
    assert [path.stem for path in profiles.files()] == [f"v{profile.version}" for profile in read]


def test_a_figure_is_what_was_measured_before_what_was_promised() -> None:
    profile = read(GOOD)
    memory = profile.nodes["a"].kind.mem_gib
    assert (memory.value, memory.spec) == (62.5, 64)
    assert "measured: the system, 2026-11-21" in str(memory)
    assert profile.network.rtt_us.value is None


def test_a_class_takes_what_it_does_not_say_from_the_one_it_is_like() -> None:
    kind = read(GOOD).nodes["b"].kind
    assert kind.arch == "x86_64"
    assert kind.mem_gib.value is None


def test_comments_and_order_do_not_change_the_sum() -> None:
    lines = GOOD.splitlines()
    turned = "\n".join([lines[3], *lines[:3], *lines[4:], "# the end"])
    assert read(turned).sha256 == read(GOOD).sha256
    assert read(GOOD.replace("10.0.0.11", "10.0.0.12")).sha256 != read(GOOD).sha256


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("llama_head: a", "llama_head: z", 16, "roles.llama_head: no node is called z"),
        ("llama_rpc: [b]", "llama_rpc: [b, z]", 17, "roles.llama_rpc.1: no node is called z"),
        ("class: box,", "class: bo,", 13, "nodes.a.class: no node class is called bo"),
        ("like: box", "like: bigger", 11, "a cycle: bigger is like bigger"),
        ("addr: {lan: 10.0.0.11}", "addr: {}", 14, "nodes.b.addr"),
        ("10.0.0.11", "10.0.1.11", 14, "does not lie in lan"),
        ("10.0.0.11", "10.0.0.10", 14, "10.0.0.10 is that of a too"),
        ("spec: 2.5,", 'spec: "2.5 Gbit",', 6, "networks.lan.gbps"),
        ("gbps", "gbit", 6, "gbit"),
        ("spec: 2.5, source: data sheet,", "spec: 2.5,", 6, "networks.lan.gbps"),
        ("network: lan", "network: wan", 19, "services.network: no network is called wan"),
        ("network: lan", "user: 'x\n  ExecStart=/bin/sh'", 19, "services.user"),
        ("network: lan", "models: {dir: relative}", 19, "services.models.dir"),
        ("llama_rpc: [b]", "llama_rpc: [a]\nservices: {llama_rpc: {port: 8080}}", 18, "services.llama_head.port: port 8080 on a"),
        ("name: two", "name: two\nname: three", 3, "name is there twice"),
        ("name: two", "name: &x two", 2, "anchors and aliases are not read"),
        ("name: two", "name: !!python/object:os.system two", 2, "is not read here"),
        ("name: two", "name: [", 4, "two.yaml"),
        ("spec: 2.5", "spec: .nan", 6, "is no number"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, line: int, said: str) -> None:
    text = GOOD.replace(old, new)
    if new.count("services"):
        text = text.replace("services:\n  network: lan\n", "")  # once is enough
    assert text != GOOD
    message = refused(text)
    assert said in message
    assert f"line {line}:" in message


def test_nobody_is_told_by_no_node() -> None:
    text = GOOD.replace("services:\n", "services:\n  monitoring: {consul: true}\n")
    assert "services.monitoring.consul: no node has the role monitoring" in refused(text)
    told = read(text.replace("roles:\n", "roles:\n  monitoring: [a]\n")).services.monitoring
    assert (told.consul, told.zeroconf) == (True, False)


def test_a_crew_of_distributed_llama_is_a_power_of_two() -> None:
    text = GOOD.replace("llama_head: a", "dllama_root: a").replace("llama_rpc: [b]", "dllama_worker: [b]")
    assert read(text).having("dllama_worker")[0].name == "b"
    more = text.replace("nodes:\n", "nodes:\n  c: {class: box, addr: {lan: 10.0.0.12}}\n").replace("[b]", "[b, c]")
    assert "it must be 2, 4, 8 or 16 in all" in refused(more)


@pytest.mark.parametrize("content", [b"", b"- 1", b"\xff\xfe", b"a: " * 400, b"[" * 5000, b"#" * (LIMIT + 1)])
def test_what_is_no_profile_at_all_is_refused(profiles: Profiles, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        profiles.profile(str(path))


def test_a_name_means_its_newest_version_and_ten_comes_after_nine(profiles: Profiles) -> None:
    for version in ("0.9", "0.10"):
        profiles.write(GOOD.replace('"0.1"', f'"{version}"'))
    assert profiles.profile("two").version == "0.10"
    assert profiles.profile("two@0.9").version == profiles.profile("two@v0.9").version == "0.9"
    assert profiles.next_version("two", "0.9") == "0.9.1"
    with pytest.raises(UsageError, match="no profile is called two@0.8"):
        profiles.profile("two@0.8")


def test_a_version_is_written_once(profiles: Profiles) -> None:
    path = profiles.write(GOOD)
    with pytest.raises(UsageError, match=r"two@0\.1 is there already"):
        profiles.write(GOOD.replace("10.0.0.11", "10.0.0.12"))
    assert path.read_text() == GOOD
    assert [each.name for each in path.parent.iterdir()] == ["v0.1.yaml"]


def test_what_something_refers_to_may_not_change(profiles: Profiles) -> None:
    path = profiles.write(GOOD)
    path.write_text(GOOD.replace("10.0.0.11", "10.0.0.12"))
    profile = profiles.profile("two")
    profiles.refer(profile, "a result")
    assert profiles.referrers(profile) == ("a result",)
    path.write_text(path.read_text() + "# only a comment\n")
    profiles.profile("two")
    path.write_text(GOOD)
    with pytest.raises(UsageError, match=r"two@0\.1 may not: a result refers to it"):
        profiles.profile("two")
