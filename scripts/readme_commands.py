"""Write the table of commands into README.md; `--check` only says whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from synaptic.commands import load  # noqa: E402

BEGIN, END = "<!-- commands: generated, see CONTRIBUTING.md -->\n", "<!-- end of commands -->"


def table() -> str:
    rows = [
        f"| `{command.usage.replace('|', chr(92) + '|')}` | {command.summary} |\n"
        for command in sorted(load(), key=lambda command: command.name)
    ]
    return "| command | what it does |\n|---|---|\n" + "".join(rows)


def rewritten(readme: str) -> str:
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


def main() -> int:
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = rewritten(old)
    if "--check" in sys.argv[1:]:
        return int(old != new)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
