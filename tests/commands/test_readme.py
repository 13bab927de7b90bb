from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from synaptic.commands import load
from synaptic.commands.shell import overview

ROOT = Path(__file__).parents[2]


def test_the_table_of_commands_in_the_readme_is_current() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "readme_commands.py", "--check"], check=False)
    assert done.returncode == 0, "run: python scripts/readme_commands.py"


def test_every_command_stands_in_a_group_of_the_help() -> None:
    commands = list(load())
    text = overview()
    assert [command.name for command in commands if f"\n{command.name} " not in f"\n{text}"] == []
    assert max(map(len, text.splitlines())) <= 80
