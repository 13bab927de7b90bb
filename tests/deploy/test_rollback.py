"""Generations: what was applied is kept whole, and applied again, by Ansible itself where ANSIBLE names the folder of its programs."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import pytest

from synaptic.commands import deploy, deploy_check, deploy_reach  # noqa: F401 - declares them
from synaptic.commands.registry import registry
from synaptic.deploy.files.rendered import rendering
from synaptic.deploy.reach.generations import MOST, Generations, gone
from synaptic.environment import Environment
from synaptic.errors import BackendError, SynapticError, UsageError
from synaptic.results import Lines, Note, Rows
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio
PROFILE = """\
schema: 1
name: tiny
version: "VERSION"
status: active
networks: {lo: {kind: loopback, cidr: 127.0.0.0/8}}
node_classes: {box: {arch: x86_64}}
nodes: {here: {class: box, addr: {lo: 127.0.0.1}}}
roles: ROLES
services: {llama_rpc: {port: PORT}, dllama_root: {model: /m, tokenizer: /t}}
"""
FAKE = '#!/bin/sh\necho "$@" >>"$SAID"\nexit "$(cat "$SAID.code" 2>/dev/null || echo 0)"\n'


def session_of(folder: Path, player: Path, answer: bool = True) -> Session:
    path = os.pathsep.join([str(player.parent), os.environ["PATH"]])
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"SYNAPTICLLAMAS_HOME": str(folder / "home"), "PATH": path, "SAID": str(folder / "said"), "LC_ALL": "C.UTF-8"}

    async def confirm(question: str) -> bool:
        return answer

    return Session(Environment(variables, *(io.StringIO() for _ in range(3))), Settings.load(folder / "s.json", {}), confirm)


async def run(session: Session, *words: str | Path) -> list[str]:
    result = await registry.parse_words([str(word) for word in words]).run(session)
    return [line async for line in result.lines] if isinstance(result, Lines) else []


async def version(session: Session, folder: Path, number: str, port: int, roles: str = "{llama_rpc: [here]}") -> None:
    """Write it, and render it into folder/out."""
    path = folder / "home/data/hardware/tiny" / f"v{number}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PROFILE.replace("VERSION", number).replace("PORT", str(port)).replace("ROLES", roles))
    await run(session, "deploy", "render", "tiny", "--target", "ansible", "--out", folder / "out")


async def generations(session: Session, folder: Path, *more: str) -> list[tuple[int, str, bool]]:
    result = await registry.parse_words(["deploy", "generations", str(folder / "out"), *more]).run(session)
    assert isinstance(result, Rows)
    return [(each.number, each.profile, each.is_live) for each in result.items]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def fake(tmp_path: Path) -> Session:
    player = tmp_path / "bin/ansible-playbook"
    player.parent.mkdir()
    player.write_text(FAKE)
    player.chmod(0o755)
    return session_of(tmp_path, player)


@pytest.fixture
def real(tmp_path: Path) -> Session:
    player = shutil.which("ansible-playbook", path=os.pathsep.join([os.environ.get("ANSIBLE", ""), os.environ["PATH"]]))
    if not player or os.geteuid() != 0:
        pytest.skip("ansible-playbook is not here (pip install ansible-core, and set ANSIBLE), or we are not root")
    return session_of(tmp_path, Path(player))


@pytest.mark.timeout(900)
async def test_a_rollback_puts_back_what_was_there_and_takes_away_what_came_since(real: Session, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc/systemd/system").mkdir(parents=True)
    into = ("--root", root)
    await version(real, tmp_path, "0.1", 50052)
    await run(real, "deploy", "apply", tmp_path / "out", *into)
    first, rendered = contents(root), contents(tmp_path / "out")
    await version(real, tmp_path, "0.2", 50053, "{dllama_root: here}")
    said = await run(real, "deploy", "apply", tmp_path / "out", *into)
    assert said[-1] == "generation 2, tiny@0.2, is live"
    assert not (root / "etc/systemd/system/llama-rpc.service").exists()
    assert (root / "etc/systemd/system/dllama-api.service").exists()
    second = contents(root)

    said = await run(real, "deploy", "rollback", tmp_path / "out", "--check", *into)
    assert any("llama-rpc" in line for line in said)
    assert (contents(root), (await generations(real, tmp_path, "--root", str(root)))[1][2]) == (second, True)

    said = await run(real, "deploy", "rollback", tmp_path / "out", *into)
    assert said[-1] == "generation 1, tiny@0.1, is live"
    assert (contents(root), contents(tmp_path / "out")) == (first, rendered)
    assert await generations(real, tmp_path, "--root", str(root)) == [(1, "tiny@0.1", True), (2, "tiny@0.2", False)]
    await run(real, "deploy", "rollback", tmp_path / "out", "--to", "2", *into)
    assert contents(root) == second
    assert await generations(real, tmp_path) == []  # the machines themselves were not touched


async def test_what_is_applied_again_is_no_new_generation(fake: Session, tmp_path: Path) -> None:
    await version(fake, tmp_path, "0.1", 50052)
    for _ in range(2):
        await run(fake, "deploy", "apply", tmp_path / "out")
    assert await generations(fake, tmp_path) == [(1, "tiny@0.1", True)]
    with pytest.raises(UsageError, match="nothing to go back to; there are: 1"):
        await run(fake, "deploy", "rollback", tmp_path / "out")
    with pytest.raises(UsageError, match="no generation 7"):
        await run(fake, "deploy", "rollback", tmp_path / "out", "--to", "7")


async def test_what_failed_or_was_only_looked_at_is_no_generation(fake: Session, tmp_path: Path) -> None:
    await version(fake, tmp_path, "0.1", 50052)
    await run(fake, "deploy", "apply", tmp_path / "out", "--check")
    (tmp_path / "said.code").write_text("2")
    with pytest.raises(BackendError, match="ended with 2"):
        await run(fake, "deploy", "apply", tmp_path / "out")
    assert await generations(fake, tmp_path) == []


async def test_a_rollback_that_fails_leaves_the_folder_and_says_nothing_else_is_live(fake: Session, tmp_path: Path) -> None:
    for number, port in (("0.1", 50052), ("0.2", 50053)):
        await version(fake, tmp_path, number, port)
        await run(fake, "deploy", "apply", tmp_path / "out")
    before = contents(tmp_path / "out")
    (tmp_path / "said.code").write_text("2")
    with pytest.raises(BackendError):
        await run(fake, "deploy", "rollback", tmp_path / "out")
    assert contents(tmp_path / "out") == before
    assert (await generations(fake, tmp_path))[-1] == (2, "tiny@0.2", True)


async def test_nothing_is_rolled_back_after_a_no(fake: Session, tmp_path: Path) -> None:
    for number, port in (("0.1", 50052), ("0.2", 50053)):
        await version(fake, tmp_path, number, port)
        await run(fake, "deploy", "apply", tmp_path / "out")
    ran = (tmp_path / "said").read_text()
    refusing = session_of(tmp_path, tmp_path / "bin/ansible-playbook", answer=False)
    assert isinstance(await registry.parse_words(["deploy", "rollback", str(tmp_path / "out")]).run(refusing), Note)
    assert (tmp_path / "said").read_text() == ran


@pytest.mark.parametrize(
    ("name", "said"), [("site.yml", "was changed after it was rendered"), ("manifest.json", "was changed after it was applied")]
)
async def test_a_generation_that_was_changed_is_not_applied(fake: Session, tmp_path: Path, name: str, said: str) -> None:
    for number, port in (("0.1", 50052), ("0.2", 50053)):
        await version(fake, tmp_path, number, port)
        await run(fake, "deploy", "apply", tmp_path / "out")
    kept = tmp_path / "home/state/deployments/tiny/1" / name
    kept.write_text(kept.read_text().replace("tiny", "evil"))
    with pytest.raises(UsageError, match=said):
        await run(fake, "deploy", "rollback", tmp_path / "out")


async def test_the_last_ones_are_kept_and_what_is_live_among_them(fake: Session, tmp_path: Path) -> None:
    for number in range(1, MOST + 4):
        await version(fake, tmp_path, f"0.{number}", 50000 + number)
        await run(fake, "deploy", "apply", tmp_path / "out")
    numbers = [number for number, _, _ in await generations(fake, tmp_path)]
    assert numbers == list(range(4, MOST + 4))
    assert {path.name for path in (tmp_path / "home/state/deployments/tiny").iterdir()} == {"index.json", *map(str, numbers)}


async def test_files_that_are_gone_are_named_by_node(fake: Session, tmp_path: Path) -> None:
    await version(fake, tmp_path, "0.1", 50052)
    await run(fake, "deploy", "apply", tmp_path / "out")
    before = Generations.of(fake.environment, "tiny").folder(Generations.of(fake.environment, "tiny").all()[0])
    await version(fake, tmp_path, "0.2", 50052, "{dllama_root: here}")
    await run(fake, "deploy", "apply", tmp_path / "out")
    assert gone(before, rendering(tmp_path / "out"))["here"][0] == "/etc/systemd/dnssd/llama-rpc.dnssd"
    said = (tmp_path / "said").read_text().splitlines()[-1]
    assert "/etc/systemd/system/llama-rpc.service" in json.loads(said[said.index("{") :])["cluster_gone"]["here"]


@pytest.mark.parametrize("index", ["", "[]", '{"live": 1, "generations": [{"number": 1}]}'])
async def test_a_history_that_cannot_be_read_is_said_to_be_lost(fake: Session, tmp_path: Path, index: str) -> None:
    await version(fake, tmp_path, "0.1", 50052)
    place = tmp_path / "home/state/deployments/tiny/index.json"
    place.parent.mkdir(parents=True)
    place.write_text(index)
    with pytest.raises(SynapticError, match="cannot be read"):
        await generations(fake, tmp_path)
