"""What comes with the program is found: from a checkout, and after `pip install .`"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synaptic.shipped import page, shipped

REPOSITORY = Path(__file__).parents[1]
NOT_SOURCE = (".venv", ".git", ".*_cache", ".hypothesis", "__pycache__", "build", "*.egg-info", "*.whl")
ASK = """
from synaptic import shipped
print(shipped.__file__, shipped.shipped("deep", "er", "marker").read_text(), shipped.page("index.html").read_text(), sep="|")
"""


def test_in_a_checkout_it_lies_beside_the_package():
    assert shipped("demo", "a.gguf") == REPOSITORY / "config/demo/a.gguf"
    assert page("index.html") == REPOSITORY / "dashboard/index.html"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package in it, as pip builds and installs it; config/ and dashboard/ hold a file to look for."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(REPOSITORY, folder / "checkout", ignore=shutil.ignore_patterns(*NOT_SOURCE))
    for name, text in (("config/deep/er/marker", "from config"), ("dashboard/index.html", "from dashboard")):
        path = folder / "checkout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    done = subprocess.run([*pip, "--target", folder / "site", folder / "checkout"], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def ask(installed: Path, *command: str | Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=20, check=True).stdout.strip()


def test_after_pip_install_it_lies_inside_the_package(installed):
    module, config, dashboard = ask(installed, sys.executable, "-c", ASK).split("|")
    assert Path(module).is_relative_to(installed)
    assert (config, dashboard) == ("from config", "from dashboard")


def test_every_module_is_installed_and_nothing_lands_beside_the_package(installed):
    modules = {path.relative_to(REPOSITORY) for path in (REPOSITORY / "synaptic").rglob("*.py")}
    assert modules <= {path.relative_to(installed) for path in installed.rglob("*.py")}
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {"synaptic", "bin"}


def test_after_pip_install_the_command_is_called_synaptic(installed):
    assert ask(installed, installed / "bin" / "synaptic", "--version").startswith("synaptic ")
