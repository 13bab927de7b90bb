"""Builds of engines: recorded, brought to the nodes that they are for, and refused elsewhere, or where they were changed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
from pathlib import Path

import pytest

from synaptic.commands import deploy, deploy_check, deploy_reach, engine  # noqa: F401 - declares them
from synaptic.commands.registry import registry
from synaptic.environment import Environment
from synaptic.errors import BackendError, EngineError, UsageError
from synaptic.process.build_record import architecture_of, read_record, record_beside
from synaptic.results import Lines, Rows
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio
X86, ARM, RISCV = 62, 183, 243  # e_machine
PROFILE = """\
schema: 1
name: mixed
version: "0.1"
status: active
networks: {lo: {kind: loopback, cidr: 127.0.0.0/8}}
node_classes: {pc: {arch: x86_64}, pi: {arch: aarch64}}
nodes: {a: {class: pc, addr: {lo: 127.0.0.1}}, b: {class: pi, addr: {lo: 127.0.0.2}}}
roles: {llama_rpc: [a, b]}
"""


def elf(machine: int, more: bytes = b"") -> bytes:
    """The first 20 bytes of a program, and some: 64 bits, little-endian, an executable."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + machine.to_bytes(2, "little") + more


def program(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


@pytest.fixture
def session(tmp_path: Path) -> Session:
    path = os.pathsep.join([os.environ.get("ANSIBLE", ""), os.environ["PATH"]])
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"SYNAPTICLLAMAS_HOME": str(tmp_path / "home"), "PATH": path, "LC_ALL": "C.UTF-8"}
    own = tmp_path / "home/data/hardware/mixed/v0.1.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(PROFILE)

    async def confirm(question: str) -> bool:
        return True

    return Session(Environment(variables, *(io.StringIO() for _ in range(3))), Settings.load(tmp_path / "s.json", {}), confirm)


async def run(session: Session, *words: str | Path) -> object:
    result = await registry.parse_words([str(word) for word in words]).run(session)
    if isinstance(result, Lines):
        said = []
        try:
            async for line in result.lines:
                said.append(line)
        except BackendError as error:
            raise BackendError("\n".join(said)) from error
        return said
    return result


async def folders(session: Session, tmp_path: Path) -> str:
    """A build for each architecture, recorded."""
    for name, machine in (("pc", X86), ("pi", ARM)):
        program(tmp_path / name / "bin/ggml-rpc-server", elf(machine, name.encode()))
        await run(
            session, "engine", "record", tmp_path / name, "--engine", "llama.cpp", "--commit", "b11434", "--flags", "GGML_RPC=ON A='b c'"
        )
    return f"{tmp_path}/pc,{tmp_path}/pi"


async def test_a_record_says_how_and_for_what_it_was_built(session: Session, tmp_path: Path) -> None:
    await folders(session, tmp_path)
    record = read_record(tmp_path / "pi")
    assert record
    assert (record.engine, record.commit, record.arch, record.flags) == ("llama.cpp", "b11434", "aarch64", ("GGML_RPC=ON", "A=b c"))
    path = tmp_path / "pi/bin/ggml-rpc-server"
    assert record.programs == {"ggml-rpc-server": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert record_beside(path) == record
    path.write_bytes(elf(ARM, b"another"))
    assert record_beside(path) is None


async def test_the_list_of_engines_shows_what_was_recorded(session: Session, tmp_path: Path) -> None:
    path = program(tmp_path / "own/bin/ggml-rpc-server", elf(X86))
    await run(session, "engine", "record", tmp_path / "own", "--engine", "llama.cpp", "--commit", "b1", "--flags", "X=1")
    assert isinstance(session.environment.variables, dict)
    session.environment.variables["GGML_RPC_SERVER"] = str(path)
    rows = await run(session, "engine", "list")
    assert isinstance(rows, Rows)
    (listed,) = [each for each in rows.items if each.name == "ggml-rpc-server"]
    assert rows.columns["build"](listed) == "b1 · x86_64 · 1 flags"
    assert listed.build.programs == {"ggml-rpc-server": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.mark.parametrize(
    ("content", "said"), [(elf(X86), "x86_64"), (elf(ARM), "aarch64"), (elf(RISCV), None), (b"#!/bin/sh\n", None), (b"", None)]
)
async def test_an_architecture_is_read_from_the_program(tmp_path: Path, content: bytes, said: str | None) -> None:
    assert architecture_of(program(tmp_path / "x", content)) == said


async def test_programs_for_two_kinds_of_machine_are_two_builds(session: Session, tmp_path: Path) -> None:
    program(tmp_path / "m/bin/one", elf(X86))
    program(tmp_path / "m/bin/other", elf(ARM))
    with pytest.raises(EngineError, match="programs for aarch64 and x86_64"):
        await run(session, "engine", "record", tmp_path / "m", "--engine", "x", "--commit", "y")
    with pytest.raises(EngineError, match="there are no programs"):
        await run(session, "engine", "record", tmp_path / "none", "--engine", "x", "--commit", "y")


async def test_each_node_is_brought_the_build_for_it(session: Session, tmp_path: Path) -> None:
    import yaml

    builds = await folders(session, tmp_path)
    await run(session, "deploy", "render", "mixed", "--target", "ansible", "--builds", builds, "--out", tmp_path / "out")
    hosts = yaml.safe_load((tmp_path / "out/inventory.yml").read_text())["all"]["children"]["llama_nodes"]["hosts"]
    assert [hosts[name]["cluster_programs"][0]["from"] for name in "ab"] == [
        f"{tmp_path}/{kind}/bin/ggml-rpc-server" for kind in ("pc", "pi")
    ]
    said = json.loads((tmp_path / "out/files/b/etc/llama-cluster/builds.json").read_text())["programs"][0]
    assert (said["path"], said["commit"], said["arch"], said["flags"]) == (
        "/usr/local/bin/ggml-rpc-server",
        "b11434",
        "aarch64",
        ["GGML_RPC=ON", "A=b c"],
    )


async def test_a_node_that_no_build_is_for_is_named_and_nothing_is_written(session: Session, tmp_path: Path) -> None:
    await folders(session, tmp_path)
    with pytest.raises(UsageError, match=r"b is aarch64, and no build of ggml-rpc-server is: .*/pc is for x86_64"):
        await run(session, "deploy", "render", "mixed", "--target", "ansible", "--builds", tmp_path / "pc", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


async def test_a_build_that_is_not_what_was_recorded_is_refused(session: Session, tmp_path: Path) -> None:
    builds = await folders(session, tmp_path)
    words = ("deploy", "render", "mixed", "--target", "ansible", "--builds", builds, "--out", tmp_path / "out")
    program(tmp_path / "pi/bin/ggml-rpc-server", elf(X86, b"pi"))
    with pytest.raises(UsageError, match="pi/bin/ggml-rpc-server is not what was recorded"):
        await run(session, *words)
    stamp = tmp_path / "pi/stamp.json"
    stamp.write_text(stamp.read_text().replace(hashlib.sha256(elf(ARM, b"pi")).hexdigest(), hashlib.sha256(elf(X86, b"pi")).hexdigest()))
    with pytest.raises(UsageError, match="was built for x86_64, and its record says aarch64"):
        await run(session, *words)
    stamp.unlink()
    with pytest.raises(UsageError, match="does not say how it was built"):
        await run(session, *words)
    with pytest.raises(UsageError, match="nothing copies programs for systemd"):
        await run(session, "deploy", "render", "mixed", "--builds", builds, "--out", tmp_path / "out")


def needs_ansible(session: Session) -> None:
    if not shutil.which("ansible-playbook", path=session.environment.variables["PATH"]) or os.geteuid() != 0:
        pytest.skip("ansible-playbook is not here (pip install ansible-core, and set ANSIBLE), or we are not root")


async def image(session: Session, tmp_path: Path, arch: str, *builds: str) -> Path:
    """A profile of one such machine, rendered, and the folder that stands for it."""
    (tmp_path / "home/data/hardware/mixed/v0.1.yaml").write_text(
        PROFILE.replace("arch: x86_64", f"arch: {arch}").replace("[a, b]", "[a]").replace(", b: {class: pi, addr: {lo: 127.0.0.2}}", "")
    )
    await run(session, "deploy", "render", "mixed", "--target", "ansible", "--out", tmp_path / "out", *builds)
    for folder in ("etc/systemd/system", "usr/local/bin"):
        (tmp_path / "root" / folder).mkdir(parents=True, exist_ok=True)
    return tmp_path / "root"


@pytest.mark.timeout(900)
async def test_a_program_for_another_architecture_is_refused_where_it_is(session: Session, tmp_path: Path) -> None:
    needs_ansible(session)
    root = await image(session, tmp_path, "aarch64")
    program(root / "usr/local/bin/ggml-rpc-server", elf(X86))
    with pytest.raises(BackendError, match="ggml-rpc-server was built for another architecture: the profile says aarch64"):
        await run(session, "deploy", "apply", tmp_path / "out", "--root", root)
    assert not (root / "etc/systemd/system/llama-rpc.service").exists()
    program(root / "usr/local/bin/ggml-rpc-server", elf(ARM))
    await run(session, "deploy", "apply", tmp_path / "out", "--root", root)
    assert (root / "etc/systemd/system/llama-rpc.service").exists()


@pytest.mark.timeout(900)
async def test_the_build_is_copied_and_seen_by_a_check(session: Session, tmp_path: Path) -> None:
    needs_ansible(session)
    await folders(session, tmp_path)
    root = await image(session, tmp_path, "x86_64", "--builds", str(tmp_path / "pc"))
    await run(session, "deploy", "apply", tmp_path / "out", "--root", root)
    installed = root / "usr/local/bin/ggml-rpc-server"
    assert (installed.read_bytes(), installed.stat().st_mode & 0o777) == (elf(X86, b"pc"), 0o755)
    check = ("deploy", "check", tmp_path / "out", "--root", root)
    clean = await run(session, *check)
    assert isinstance(clean, Rows)
    assert [(each.what, each.why) for each in clean.items] == []
    program(installed, elf(ARM))
    (root / "etc/systemd/system/llama-rpc.service").write_text("[Service]\n")
    (root / "etc/llama-cluster/nodes").unlink()
    drifted = await run(session, *check)
    assert isinstance(drifted, Rows)
    assert (drifted.exit_code, {(each.what, each.why) for each in drifted.items}) == (
        1,
        {
            ("a:/etc/systemd/system/llama-rpc.service", "is not what was rendered"),
            ("a:/etc/llama-cluster/nodes", "is not installed"),
            ("a:/usr/local/bin/ggml-rpc-server", "is not the build that was recorded"),
            ("a:/usr/local/bin/ggml-rpc-server", "was built for aarch64, and this is x86_64"),
        },
    )


@pytest.mark.live
async def test_the_engines_here_are_for_this_machine(llama_server: Path) -> None:
    assert architecture_of(llama_server) == platform.machine()
