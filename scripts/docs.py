"""Write what is generated into README.md and docs/: the table of commands, and what commands print there.

A block that begins with ```console holds lines `$ synaptic …`; each is run on a terminal of 100 columns, and what it
prints replaces the lines below it. All blocks of one page share a home, so that a page may tell a story; workers and
coordinators that it starts are stopped at its end. Words behind ```console:

    figures    numbers, and what is said of them, differ from run to run: only how the first line begins is compared
    engine     needs llama.cpp, and is left as it is where LLAMA_SERVER and GGML_RPC_SERVER name no program

`<!-- elsewhere: COMMAND; COMMAND -->` on the line above a block is run first, by another user so to speak, and not shown.

    python scripts/docs.py           write
    python scripts/docs.py --check   only name the pages that are stale; exit code 1 if there are any
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pexpect

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from synaptic.commands import load  # noqa: E402

BEGIN, END = "<!-- commands: generated, see CONTRIBUTING.md -->\n", "<!-- end of commands -->"
BLOCK = re.compile(
    r"^(?P<above><!-- elsewhere: (?P<elsewhere>.*) -->\n)?```console(?P<words>[ a-z]*)\n(?P<shown>.*?)^```$", re.MULTILINE | re.DOTALL
)
ENGINES = ("LLAMA_SERVER", "GGML_RPC_SERVER")
ELSEWHERE = "elsewhere"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")
COLUMNS, LONGEST = 100, 120  # of the terminal; and seconds that one command may take
TRIES = 3  # what is looked for on a busy machine may be late once


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def rewritten(page: str) -> str:
    """The page as it should be now."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / ELSEWHERE).mkdir()
        try:
            page = BLOCK.sub(lambda block: _written(block, home), page)
        finally:
            for folder in (home, home / ELSEWHERE):
                _printed("$ synaptic coordinator stop", folder, with_engine=True)
                _printed("$ synaptic worker stop", folder, with_engine=True)
    before, mark, rest = page.partition(BEGIN)
    return before + mark + table() + END + rest.partition(END)[2] if mark else page


def table() -> str:
    rows = [
        f"| `{command.usage.replace('|', chr(92) + '|')}` | {command.summary} |\n"
        for command in sorted(load(), key=lambda command: command.name)
    ]
    return "| command | what it does |\n|---|---|\n" + "".join(rows)


def is_stale(old: str, new: str) -> bool:
    return _without_figures(old) != _without_figures(new)


def _written(block: re.Match[str], home: Path) -> str:
    with_engine = "engine" in block["words"]
    if with_engine and not all(os.environ.get(name) for name in ENGINES):
        return block[0]
    for line in filter(None, (block["elsewhere"] or "").split("; ")):
        _printed(f"$ synaptic {line}", home / ELSEWHERE, with_engine=with_engine)
    typed = [line for line in block["shown"].splitlines() if line.startswith("$ ")]
    shown = "".join(f"{line}\n{_printed(line, home, with_engine=with_engine)}" for line in typed)
    return f"{block['above'] or ''}```console{block['words']}\n{shown}```"


def _printed(line: str, home: Path, *, with_engine: bool) -> str:
    if not line.startswith("$ synaptic "):
        raise SystemExit(f"only `$ synaptic …` can be run for a page, not: {line}")
    command = f"{sys.executable} {ROOT / 'main.py'} {line.removeprefix('$ synaptic ')}"
    terminal = pexpect.spawn(
        "/bin/sh",
        ["-c", command],
        cwd=str(home),
        env=_environment(home, with_engine),
        dimensions=(60, COLUMNS),
        encoding="utf-8",
        timeout=LONGEST,
    )
    terminal.expect(pexpect.EOF)
    terminal.close()
    shown = ESCAPES.sub("", terminal.before or "").replace("\r\n", "\n").replace(str(home), "~").replace(f"{ROOT}/", "")
    return "".join(f"{text.rstrip()}\n" for text in shown.splitlines() if text.rpartition("\r")[2].strip() or text == "")


def _environment(home: Path, with_engine: bool) -> dict[str, str]:
    own = {"HOME": str(home), "SYNAPTICLLAMAS_HOME": str(home), "TERM": "xterm-256color", "NO_COLOR": "1", "OLLAMA_HOST": "127.0.0.1:1"}
    kept = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", *(ENGINES if with_engine else ()))
    return {name: os.environ[name] for name in kept if name in os.environ} | own


def _without_figures(page: str) -> str:
    """What must not differ: of a block with figures, its commands and how the first line of what each prints begins."""
    return BLOCK.sub(lambda block: _beginnings(block[0]) if "figures" in block["words"] else block[0], page)


def _beginnings(shown: str) -> str:
    lines = shown.splitlines()
    firsts = [after.split() for line, after in itertools.pairwise(lines) if line.startswith("$ ")]
    commands = [line for line in lines if line.startswith("$ ")]
    return "\n".join(f"{line} {words[0] if words else ''}" for line, words in zip(commands, firsts, strict=True))


def _stale() -> Iterator[tuple[Path, str]]:
    for page in pages():
        old = new = page.read_text(encoding="utf-8")
        for _ in range(TRIES):
            new = rewritten(old)
            if not is_stale(old, new):
                break
        else:
            yield page, new


def main() -> int:
    only_check = "--check" in sys.argv[1:]
    stale = list(_stale())
    for page, new in stale:
        print(f"{'stale' if only_check else 'written'}: {page.relative_to(ROOT)}")
        if only_check:
            print(
                *itertools.islice(difflib.unified_diff(page.read_text(encoding="utf-8").splitlines(), new.splitlines(), n=0), 2, 40),
                sep="\n",
            )
        else:
            page.write_text(new, encoding="utf-8")
    return int(only_check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
