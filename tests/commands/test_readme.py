from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_of_commands_in_the_readme_is_current() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "readme_commands.py", "--check"], check=False)
    assert done.returncode == 0, "run: python scripts/readme_commands.py"
