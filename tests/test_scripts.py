"""scripts/: the front door works on a fresh checkout, says little, and costs nothing the second time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
MAIN = """
import os, sys, tiny
print(tiny.VERSION, os.getcwd(), *sys.argv[1:], sep="|")
sys.exit(len(sys.argv) - 1)
"""
SETTING_UP = "setting up the Python packages"


class Checkout:
    """A checkout of these scripts with a program of three lines, which needs a package from an index that is a folder."""

    def __init__(self, folder: Path) -> None:
        self.root, self.index = folder / "check out", folder / "index"
        self.index.mkdir(parents=True)
        shutil.copytree(REPOSITORY / "scripts", self.root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        (self.root / "main.py").write_text(MAIN)
        (self.root / "requirements").mkdir()
        self.require("1.0")
        self.require("1.0", "dev")

    def require(self, version: str, name: str = "base") -> None:
        with zipfile.ZipFile(self.index / f"tiny-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr("tiny.py", f'VERSION = "{version}"\n')
            wheel.writestr(f"tiny-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
            wheel.writestr(f"tiny-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"tiny-{version}.dist-info/RECORD", "")
        (self.root / "requirements" / f"{name}.txt").write_text(f"tiny=={version}\n")

    def start(self, script: str | Path, *words: str, cwd: Path | None = None, **variables: str) -> subprocess.Popen[str]:
        offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.index), "PYTHON": sys.executable}
        return subprocess.Popen(
            [self.root / "scripts" / script, *words],
            env={**os.environ, **offline, **variables},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str | Path, *words: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        process = self.start(script, *words, cwd=cwd, **variables)
        stdout, stderr = process.communicate(timeout=50)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def pretend_python(self, text: str) -> Path:
        """Set up already, with an interpreter that is a little shell script and writes what it is asked to `asked`."""
        python = self.root / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\necho "$*" >> "{self.root}/asked"\n{textwrap.dedent(text)}')
        python.chmod(0o755)
        for path in (self.root / "requirements").iterdir():
            shutil.copy(path, self.root / ".venv" / path.name)
        return self.root / "asked"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture(scope="module")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, subprocess.CompletedProcess[str]]:
    """A checkout after its first run; tests that use it leave it set up."""
    checkout = Checkout(tmp_path_factory.mktemp("set_up"))
    return checkout, checkout.run("run", "first time")


def test_the_first_run_sets_up_and_says_so_where_it_does_not_disturb(set_up):
    checkout, first = set_up
    assert first.stdout == f"1.0|{Path.cwd()}|first time\n", first.stderr
    assert first.stderr.startswith(SETTING_UP)
    assert first.stderr.count("\n") == 1
    assert checkout.run("run").stderr == ""


def test_arguments_the_folder_and_the_exit_code_are_the_programs_own(set_up, tmp_path):
    checkout, _ = set_up
    done = checkout.run("run", "a b", "$HOME", "*", cwd=tmp_path)
    assert (done.stdout, done.returncode) == (f"1.0|{tmp_path}|a b|$HOME|*\n", 3)


def test_it_can_be_started_through_a_link_from_anywhere(set_up, tmp_path):
    checkout, _ = set_up
    link = tmp_path / "synaptic"
    link.symlink_to(checkout.root / "scripts" / "run")
    done = checkout.run(link, cwd=Path("/"))
    assert (done.stdout, done.stderr) == ("1.0|/\n", "")


def test_changed_requirements_are_installed_by_the_next_run(set_up):
    checkout, _ = set_up
    checkout.require("2.0")
    done = checkout.run("run")
    assert done.stdout.startswith("2.0|"), done.stderr
    assert SETTING_UP in done.stderr
    checkout.require("1.0")
    assert checkout.run("run").stdout.startswith("1.0|")


def test_packages_that_cannot_be_had_stop_the_start_and_the_next_one_tries_again(set_up):
    checkout, _ = set_up
    (checkout.root / "requirements/base.txt").write_text("tiny==3.0\n")
    for _ in range(2):
        done = checkout.run("run")
        assert (done.returncode, done.stdout) == (1, "")
        assert "tiny==3.0" in done.stderr
        assert done.stderr.splitlines()[-1].startswith("setting up failed")
    checkout.require("1.0")
    assert checkout.run("run").returncode == 0


def test_two_first_runs_at_once_both_succeed_and_one_sets_up(checkout):
    both = [checkout.start("run"), checkout.start("run")]
    said = [process.communicate(timeout=50) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "".join(stderr for _, stderr in said).count(SETTING_UP) == 1


def test_an_environment_that_was_left_half_made_is_made_again(checkout):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout.root / ".venv"], check=True, timeout=50)
    assert checkout.run("run").stdout.startswith("1.0|")


@pytest.mark.parametrize("python", ["/nowhere/python3", "{old}"])
def test_without_a_new_enough_python_one_sentence_says_so(checkout, tmp_path, python):
    old = tmp_path / "python 3.8"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = checkout.run("run", PYTHON=python.format(old=old))
    assert done.returncode == 1
    assert done.stderr.startswith("no Python 3.11 or newer was found")
    assert done.stderr.count("\n") == 1


def test_a_python_that_cannot_make_environments_is_told_apart(checkout, tmp_path):
    (tmp_path / "sitecustomize.py").write_text('import sys; sys.modules["ensurepip"] = None\n')
    done = checkout.run("run", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.endswith("cannot make virtual environments. try: apt install python3-venv\n")
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize("failing", ["ruff check", "ruff format", "mypy", "platform darwin"])
def test_check_asks_everything_and_fails_with_any(checkout, failing):
    asked = checkout.pretend_python(f'case "$*" in *"{failing}"*) exit 1 ;; esac')
    assert checkout.run("check").returncode == 1
    assert len(asked.read_text().splitlines()) == 4


def test_check_is_content_when_all_are(checkout):
    checkout.pretend_python("exit 0")
    assert checkout.run("check").returncode == 0


ENGINE = """
case "$*" in
    *"engine path"*) [ -e "{built}" ] && echo "/engines/$4" ;;
    *"engine install"*) {install} ;;
    *pytest*) echo "$LLAMA_SERVER|$GGML_RPC_SERVER"; exit 7 ;;
esac
"""


def test_test_builds_a_missing_engine_once_and_names_it_to_the_tests(checkout, tmp_path):
    built = tmp_path / "built"
    asked = checkout.pretend_python(ENGINE.format(built=built, install=f"touch {built}"))
    for _ in range(2):
        done = checkout.run("test")
        assert (done.returncode, done.stdout) == (7, "/engines/llama-server|/engines/ggml-rpc-server\n"), done.stderr
    assert asked.read_text().count("main.py engine install llama.cpp") == 1
    assert "-m pytest -n auto --dist worksteal" in asked.read_text()


def test_test_runs_without_the_engine_when_it_cannot_be_built_and_says_so(checkout, tmp_path):
    checkout.pretend_python(ENGINE.format(built=tmp_path / "never", install="exit 4"))
    done = checkout.run("test")
    assert (done.returncode, done.stdout) == (7, "|\n")
    assert "the tests that need it are skipped" in done.stderr


def test_test_passes_its_arguments_on(checkout, tmp_path):
    asked = checkout.pretend_python(ENGINE.format(built=tmp_path, install="true"))
    checkout.run("test", "tests/test_a.py", "-k", "one thing")
    assert asked.read_text().splitlines()[-1] == "-m pytest tests/test_a.py -k one thing"


@pytest.mark.parametrize(("name", "section"), [("base", "dependencies"), ("dev", "dev")])
def test_the_pinned_packages_are_what_the_project_asks_for(name, section):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pins = {}
    for line in (REPOSITORY / "requirements" / f"{name}.txt").read_text().splitlines():
        if not line.startswith("-r "):
            package, version = line.split("==")
            pins[canonicalize_name(package)] = version
    for wanted in map(Requirement, project[section] if section in project else project["optional-dependencies"][section]):
        pinned = pins.get(canonicalize_name(wanted.name))
        assert pinned, f"{wanted.name} is not in requirements/{name}.txt. try: scripts/lock"
        assert wanted.specifier.contains(pinned), f"{wanted} does not allow the pinned {pinned}. try: scripts/lock"
