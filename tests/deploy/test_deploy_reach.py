"""deploy status and deploy apply, with programs in the places of ssh and ansible-playbook."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from synaptic.commands import deploy, deploy_reach  # noqa: F401 - declares them
from synaptic.commands.registry import registry
from synaptic.environment import Environment
from synaptic.errors import BackendError, UsageError
from synaptic.results import Lines, Note, Rows
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio
SSH = """\
#!/bin/sh
echo "$@" >>"$SAID"
case "$*" in
    *node3*) echo "ssh: no route to host" >&2; exit 255 ;;
    *node2*) printf 'llama-rpc\\tactive\\t2\\t1048576\\tclosed\\n'; exit 1 ;;
    *) printf 'llama-head\\tactive\\t0\\t-\\tlistening\\n' ;;
esac
"""
ANSIBLE = """\
#!/bin/sh
echo "$@" >>"$SAID"
echo "PLAY RECAP"
exit "${CODE:-0}"
"""


def session_of(tmp_path: Path, answer: bool = True, code: int = 0) -> Session:
    for name, text in (("ssh", SSH), ("ansible-playbook", ANSIBLE)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    variables = {"SYNAPTICLLAMAS_HOME": str(tmp_path / "home"), "PATH": path, "SAID": str(tmp_path / "said"), "CODE": str(code)}

    async def confirm(question: str) -> bool:
        assert "change the machines of beefcake@0.1" in question
        return answer

    return Session(Environment(variables, *(io.StringIO() for _ in range(3))), Settings.load(tmp_path / "s.json", {}), confirm)


async def test_every_node_is_asked_and_one_that_does_not_answer_is_shown(tmp_path: Path) -> None:
    result = await registry.parse_words(["deploy", "status", "beefcake"]).run(session_of(tmp_path))
    assert isinstance(result, Rows)
    assert result.exit_code == 3
    assert [(each.node, each.is_well, each.port) for each in result.items] == [
        ("node1", True, "listening"),
        ("node2", False, "closed"),
        ("node3", False, "-"),
    ]
    assert result.items[2].state == "ssh: no route to host"
    assert "-- 10.0.0.31 llama-service-status" in (tmp_path / "said").read_text()


async def rendered(session: Session, out: Path, target: str = "ansible") -> None:
    await registry.parse_words(["deploy", "render", "beefcake", "--target", target, "--out", str(out)]).run(session)


async def test_a_playbook_runs_after_a_yes(tmp_path: Path) -> None:
    session = session_of(tmp_path)
    await rendered(session, tmp_path / "out")
    result = await registry.parse_words(["deploy", "apply", str(tmp_path / "out")]).run(session)
    assert isinstance(result, Lines)
    assert [line async for line in result.lines] == ["PLAY RECAP"]
    assert (tmp_path / "said").read_text() == f"-i {tmp_path}/out/inventory.yml {tmp_path}/out/site.yml\n"


async def test_nothing_runs_after_a_no_and_a_check_needs_no_answer(tmp_path: Path) -> None:
    session = session_of(tmp_path, answer=False)
    await rendered(session, tmp_path / "out")
    assert isinstance(await registry.parse_words(["deploy", "apply", str(tmp_path / "out")]).run(session), Note)
    assert not (tmp_path / "said").exists()
    result = await registry.parse_words(["deploy", "apply", str(tmp_path / "out"), "--check"]).run(session)
    assert isinstance(result, Lines)
    assert [line async for line in result.lines] == ["PLAY RECAP"]
    assert "--check --diff" in (tmp_path / "said").read_text()


async def test_what_fails_is_said(tmp_path: Path) -> None:
    session = session_of(tmp_path, code=2)
    await rendered(session, tmp_path / "out")
    result = await registry.parse_words(["deploy", "apply", str(tmp_path / "out")]).run(session)
    assert isinstance(result, Lines)
    with pytest.raises(BackendError, match="ansible-playbook ended with 2"):
        [line async for line in result.lines]


async def test_what_was_changed_or_is_no_playbook_is_not_run(tmp_path: Path) -> None:
    session = session_of(tmp_path)
    await rendered(session, tmp_path / "units", "systemd")
    with pytest.raises(UsageError, match="was rendered for systemd"):
        await registry.parse_words(["deploy", "apply", str(tmp_path / "units")]).run(session)
    await rendered(session, tmp_path / "out")
    (tmp_path / "out/site.yml").write_text("---\n[]\n")
    with pytest.raises(UsageError, match=r"site\.yml was changed after it was rendered"):
        await registry.parse_words(["deploy", "apply", str(tmp_path / "out")]).run(session)
    assert not (tmp_path / "said").exists()
