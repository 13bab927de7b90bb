"""deploy status and deploy apply, with programs in the places of ssh and ansible-playbook."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from synaptic.commands import cluster, deploy, deploy_check, deploy_reach  # noqa: F401 - declares them
from synaptic.commands.registry import registry
from synaptic.environment import Environment
from synaptic.errors import BackendError, UsageError
from synaptic.results import Lines, Note, Rows
from synaptic.session import Session
from synaptic.settings import Settings
from synaptic.shipped import shipped

pytestmark = pytest.mark.anyio
SSH = """\
#!/bin/sh
echo "$@" >>"$SAID"
case "$*" in
    *node3*) echo "ssh: no route to host" >&2; exit 255 ;;
    *node2*) printf 'llama-rpc\\tactive\\t2\\t1048576\\tclosed\\t5.2\\n'; exit 1 ;;
    *) printf 'llama-head\\tactive\\t0\\t-\\tlistening\\t-\\n' ;;
esac
"""
ANSIBLE = """\
#!/bin/sh
echo "$@" >>"$SAID"
echo "PLAY RECAP"
exit "${CODE:-0}"
"""


def session_of(tmp_path: Path, answer: bool = True, code: int = 0, home: str = "home", label: str = "beefcake@0.1") -> Session:
    for name, text in (("ssh", SSH), ("ansible-playbook", ANSIBLE)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    variables = {"SYNAPTICLLAMAS_HOME": str(tmp_path / home), "PATH": path, "SAID": str(tmp_path / "said"), "CODE": str(code)}

    async def confirm(question: str) -> bool:
        assert f"change the machines of {label}" in question
        return answer

    return Session(Environment(variables, *(io.StringIO() for _ in range(3))), Settings.load(tmp_path / "s.json", {}), confirm)


async def test_every_node_is_asked_and_one_that_does_not_answer_is_shown(tmp_path: Path) -> None:
    result = await registry.parse_words(["deploy", "status", "beefcake"]).run(session_of(tmp_path))
    assert isinstance(result, Rows)
    assert result.exit_code == 3
    assert [(each.node, each.is_well, each.port, each.repair) for each in result.items] == [
        ("node1", True, "listening", "-"),
        ("node2", False, "closed", "5.2"),
        ("node3", False, "-", "-"),
    ]
    assert result.items[2].state == "ssh: no route to host"
    assert "-- 10.0.0.31 llama-service-status" in (tmp_path / "said").read_text()


async def test_a_rendered_folder_is_taken_by_its_bare_name_where_no_profile_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    await rendered(session, tmp_path / "mine")
    result = await registry.parse_words(["deploy", "status", "mine"]).run(session)
    assert result.data["profile"] == "beefcake@0.1"  # type: ignore[union-attr, index]


async def rendered(session: Session, out: Path, target: str = "ansible") -> None:
    await registry.parse_words(["deploy", "render", "beefcake", "--target", target, "--out", str(out)]).run(session)


async def test_a_playbook_runs_after_a_yes(tmp_path: Path) -> None:
    session = session_of(tmp_path)
    await rendered(session, tmp_path / "out")
    result = await registry.parse_words(["deploy", "apply", str(tmp_path / "out")]).run(session)
    assert isinstance(result, Lines)
    assert [line async for line in result.lines] == ["PLAY RECAP", "generation 1, beefcake@0.1, is live"]
    assert (tmp_path / "said").read_text() == f"-i {tmp_path}/out/inventory.yml {tmp_path}/out/site.yml\n"


async def test_a_folder_is_enough_where_its_profile_was_a_file(tmp_path: Path) -> None:
    """It has the profile's document with it, and the sum of that; so another machine can apply it, too."""
    session, out = session_of(tmp_path), str(tmp_path / "out")
    given = tmp_path / "x.yaml"
    given.write_text(shipped("hardware", "beefcake", "v0.1.yaml").read_text().replace("name: beefcake", "name: mine"))
    await registry.parse_words(["deploy", "render", str(given), "--target", "ansible", "--out", out]).run(session)
    given.unlink()
    other = session_of(tmp_path, home="other", label="mine@0.1")
    for words in (["deploy", "check", out], ["deploy", "status", out], ["cluster", "exec", "node1", "--profile", out, "--", "uptime"]):
        result = await registry.parse_words(words).run(other)
        assert isinstance(result, Rows)
        assert result.exit_code == (3 if "status" in words else 0)  # one node is ill
    result = await registry.parse_words(["deploy", "apply", out]).run(other)
    assert isinstance(result, Lines)
    assert [line async for line in result.lines][-1] == "generation 1, mine@0.1, is live"


async def test_a_folder_whose_profile_was_changed_in_it_is_refused(tmp_path: Path) -> None:
    session, out = session_of(tmp_path), tmp_path / "out"
    await rendered(session, out)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["document"]["nodes"]["node1"]["addr"]["lan"] = "10.0.0.66"
    (out / "manifest.json").write_text(json.dumps(manifest))
    for words in (["deploy", "apply", str(out)], ["deploy", "status", str(out)]):
        with pytest.raises(UsageError, match=r"manifest\.json was changed after it was rendered"):
            await registry.parse_words(words).run(session)
    assert not (tmp_path / "said").exists()


async def test_nothing_runs_after_a_no_and_a_check_needs_no_answer(tmp_path: Path) -> None:
    session = session_of(tmp_path, answer=False)
    await rendered(session, tmp_path / "out")
    assert isinstance(await registry.parse_words(["deploy", "apply", str(tmp_path / "out")]).run(session), Note)
    assert not (tmp_path / "said").exists()
    result = await registry.parse_words(["deploy", "apply", str(tmp_path / "out"), "--check"]).run(session)
    assert isinstance(result, Lines)
    assert [line async for line in result.lines] == ["PLAY RECAP"]
    assert "--check --diff" in (tmp_path / "said").read_text()


async def test_an_image_is_filled_for_one_node(tmp_path: Path) -> None:
    """Those of several would overwrite one another in it, all at the same time."""
    session, image = session_of(tmp_path), str(tmp_path / "image")
    await rendered(session, tmp_path / "out")
    for words in (["--root", image], ["--root", image, "--node", "nobody"]):
        with pytest.raises(UsageError, match="which node does the folder stand for"):
            await registry.parse_words(["deploy", "apply", str(tmp_path / "out"), *words]).run(session)
    with pytest.raises(UsageError, match="--node says whose folder --root is"):
        await registry.parse_words(["deploy", "apply", str(tmp_path / "out"), "--node", "node2"]).run(session)
    assert not (tmp_path / "said").exists()
    result = await registry.parse_words(["deploy", "apply", str(tmp_path / "out"), "--root", image, "--node", "node2"]).run(session)
    assert isinstance(result, Lines)
    assert [line async for line in result.lines][-1] == "generation 1, beefcake@0.1, is live"
    assert (tmp_path / "said").read_text().rstrip().endswith("--limit node2")


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
