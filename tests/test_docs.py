"""What the pages say is so: their tests exist, their links lead somewhere, their commands are commands, their output is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from synaptic.commands import load

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMED = re.compile(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)(?:::(test_\w+))?`")
LINK = re.compile(r"\]\((?!http)([^)#]+)(#[^)]*)?\)")
CODE = re.compile(r"`([^`\n]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_named_is_there(page: Path) -> None:
    gone = [
        f"{file}::{name}"
        for file, name in NAMED.findall(page.read_text(encoding="utf-8"))
        if not (path := ROOT / "tests" / file).is_file() or (name and f"def {name}(" not in path.read_text(encoding="utf-8"))
    ]
    assert gone == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    assert [link for link, _ in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_is_one(page: Path) -> None:
    """A word in backticks that begins like a command with verbs has one of them."""
    registry = load()
    nouns = {command.name.split()[0] for command in registry if " " in command.name}
    typed = [code.split() for code in CODE.findall(page.read_text(encoding="utf-8"))]
    unknown = [" ".join(words) for words in typed if words and words[0] in nouns and len(words) > 1 and registry.find(words) is None]
    assert unknown == []


@pytest.mark.timeout(300)
def test_what_commands_print_on_the_pages_is_what_they_print() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "docs.py", "--check"], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, f"run: python scripts/docs.py\n{done.stdout}{done.stderr}"
