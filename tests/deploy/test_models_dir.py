"""The models directory: its manifest, how it is compared on the spot and on a node, and the unit that mounts it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import REPOSITORY

from synaptic.commands import deploy, deploy_models  # noqa: F401 - declares them
from synaptic.commands.registry import registry
from synaptic.deploy.files.models_dir import unit_name
from synaptic.deploy.files.render import render
from synaptic.deploy.profile.profiles import Profiles
from synaptic.environment import Environment
from synaptic.errors import UsageError
from synaptic.results import Rows
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio
VERIFY = REPOSITORY / "config/deploy/bin/llama-verify-models"
PROFILE = """\
schema: 1
name: reading
version: "0.1"
status: active
networks: {lo: {kind: loopback, cidr: 127.0.0.0/8}}
node_classes: {box: {arch: x86_64}}
nodes: {a: {class: box, addr: {lo: 127.0.0.1}}, b: {class: box, addr: {lo: 127.0.0.2}}}
roles: {llama_head: a, llama_rpc: [b]}
services:
  llama_head: {model: FOLDER/one.gguf}
  models:
    dir: FOLDER
    files:
      - {name: one.gguf, bytes: 3, sha256: SUM, source: here}
      - {name: more/two.gguf, bytes: 3, sha256: SUM}
"""


@pytest.fixture
def session(tmp_path: Path) -> Session:
    variables = {"SYNAPTICLLAMAS_HOME": str(tmp_path / "home")}
    return Session(Environment(variables, *(io.StringIO() for _ in range(3))), Settings.load(tmp_path / "s.json", {}))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "more").mkdir(parents=True)
    for name in ("one.gguf", "more/two.gguf"):
        (folder / name).write_bytes(b"abc")
    (folder / "notes").write_text("no model")
    return folder


def profile(tmp_path: Path, models: Path, text: str = PROFILE) -> Profiles:
    own = tmp_path / "home/data/hardware/reading/v0.1.yaml"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(text.replace("FOLDER", str(models)).replace("SUM", hashlib.sha256(b"abc").hexdigest()))
    return Profiles(tmp_path / "none", tmp_path / "home/data/hardware", None)


async def run(session: Session, *words: str | Path) -> Rows[object]:
    result = await registry.parse_words(["deploy", "models", *map(str, words)]).run(session)
    assert isinstance(result, Rows)
    return result


def wrong(rows: Rows[object]) -> dict[str, str]:
    return {each.name: each.why for each in rows.items if each.why}  # type: ignore[attr-defined]


async def test_a_manifest_says_what_is_there_and_where_it_is_from(session: Session, models: Path) -> None:
    await run(session, models, "--write", "--source", "https://example.org/models")
    said = json.loads((models / "manifest.json").read_text())["models"]
    sum_ = hashlib.sha256(b"abc").hexdigest()
    assert said == [
        {"name": name, "bytes": 3, "sha256": sum_, "source": "https://example.org/models"} for name in ("more/two.gguf", "one.gguf")
    ]
    assert (await run(session, models)).exit_code == 0
    (models / "one.gguf").write_bytes(b"abcd")
    await run(session, models, "--write")
    assert {each["name"]: each["source"] for each in json.loads((models / "manifest.json").read_text())["models"]} == {
        "more/two.gguf": "https://example.org/models",  # it is the same
        "one.gguf": None,
    }


async def test_what_is_not_as_it_was_written_down_is_named(session: Session, models: Path) -> None:
    await run(session, models, "--write")
    (models / "one.gguf").write_bytes(b"abd")
    assert wrong(await run(session, models)) == {"one.gguf": "has another sum than the manifest says"}
    assert wrong(await run(session, models, "--quick")) == {}
    (models / "one.gguf").write_bytes(b"ab")
    assert wrong(await run(session, models, "--quick")) == {"one.gguf": "has 2 bytes, and 3 are in the manifest"}
    (models / "one.gguf").unlink()
    rows = await run(session, models)
    assert (wrong(rows), rows.exit_code) == ({"one.gguf": "no such file or directory"}, 1)


async def test_a_directory_is_compared_with_what_a_profile_says(session: Session, models: Path, tmp_path: Path) -> None:
    profile(tmp_path, models)
    assert (await run(session, models, "--profile", "reading")).exit_code == 0
    (models / "more/two.gguf").write_bytes(b"xyz")
    assert wrong(await run(session, models, "--profile", "reading")) == {"more/two.gguf": "has another sum than the manifest says"}


@pytest.mark.parametrize("text", ["", "[]", '{"models": [{"name": "../x", "bytes": 1, "sha256": "0"}]}', '{"models": [{"name": "x"}]}'])
async def test_a_manifest_that_is_none_is_not_believed(session: Session, models: Path, text: str) -> None:
    (models / "manifest.json").write_text(text)
    with pytest.raises(UsageError, match="is no manifest"):
        await run(session, models)


async def test_what_is_missing_is_said(session: Session, models: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no manifest"):
        await run(session, models)
    with pytest.raises(UsageError, match="is no folder"):
        await run(session, tmp_path / "nowhere")
    with pytest.raises(UsageError, match="lab-local@0.1 names no model files"):
        await run(session, models, "--profile", "lab-local")


def on_node(files: dict[str, str], tmp_path: Path, *words: str) -> tuple[int, str]:
    (tmp_path / "listed").write_text(files["a/etc/llama-cluster/models"])
    variables = {**os.environ, "LLAMA_MODELS": str(tmp_path / "listed"), "LLAMA_VERIFIED": str(tmp_path / "seen/verified")}
    said = subprocess.run([VERIFY, *words], capture_output=True, text=True, env=variables, check=False)
    return said.returncode, said.stdout + said.stderr


def test_a_node_compares_what_it_reads(models: Path, tmp_path: Path) -> None:
    files = {path: file.text for path, file in render(profile(tmp_path, models).profile("reading"), "systemd").items()}
    assert "b/etc/llama-cluster/models" not in files  # it reads none
    assert on_node(files, tmp_path) == (0, "")
    assert len((tmp_path / "seen/verified").read_text().splitlines()) == 2
    assert on_node(files, tmp_path) == (0, "")
    assert len((tmp_path / "seen/verified").read_text().splitlines()) == 2  # nothing was read again
    before = (models / "one.gguf").stat()
    (models / "one.gguf").write_bytes(b"abd")
    os.utime(models / "one.gguf", (before.st_atime + 5, before.st_mtime + 5))
    assert on_node(files, tmp_path, "--quick") == (0, "")
    assert on_node(files, tmp_path) == (1, f"{models}/one.gguf: has another sum\n")
    (models / "more/two.gguf").write_bytes(b"ab")
    (models / "one.gguf").unlink()
    assert on_node(files, tmp_path)[1] == f"{models}/one.gguf: is not there\n{models}/more/two.gguf: has 2 bytes, not 3\n"


@pytest.mark.parametrize("path", ["/srv/models", "/srv/our-models", "/a b/ä", "/.hidden/x", "//srv//models/", "/a\\b"])
def test_a_mount_is_called_as_systemd_calls_it(path: str) -> None:
    program = shutil.which("systemd-escape")
    if not program:
        pytest.skip("systemd-escape is not here: it comes with systemd")
    assert unit_name(path) == subprocess.run([program, "--path", path], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: one.gguf", "name: ../one.gguf", "line 14: services.models.files.0.name"),
        ("name: one.gguf", "name: /one.gguf", "line 14: services.models.files.0.name"),
        ("name: one.gguf", "name: more/two.gguf", "line 15: services.models.files.1.name: more/two.gguf is there twice"),
        ("bytes: 3", "bytes: 3 MB", "line 14: services.models.files.0.bytes"),
        ("sha256: SUM, source", "sha256: abc, source", "line 14: services.models.files.0.sha256"),
        ("dir: FOLDER", "dir: FOLDER\n    export: nas:/x", "line 13: services.models.export: only a directory of kind nfs is mounted"),
        ("dir: FOLDER", "dir: FOLDER\n    kind: nfs\n    export: nas", "line 14: services.models.export"),
        ("dir: FOLDER", 'dir: FOLDER\n    kind: nfs\n    export: "-oexec:/x"', "line 14: services.models.export"),
    ],
)
def test_what_a_profile_cannot_say_of_models_is_named_with_its_line(tmp_path: Path, models: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        profile(tmp_path, models, PROFILE.replace(old, new, 1)).profile("reading")
    assert said in str(caught.value)
