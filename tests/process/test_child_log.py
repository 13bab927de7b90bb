"""The log of a child stays small, and nothing that was read along is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from synaptic.process.child_log import FILES, Tail, fresh, older

WRITER = "import sys\nfor n in sys.stdin:\n  [print(f'line {n.strip()} {k}') for k in range(100)]\n  print('end', flush=True)\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker-50052.log"


def read_until_end(tail: Tail) -> list[str]:
    said: list[str] = []
    while not said or said[-1] != "end":
        said += [raw.decode().strip() for raw in tail.lines()]
    return said[:-1]


def test_a_long_log_is_put_aside_under_the_child_and_every_line_is_heard(log):
    with fresh(log) as file:
        child = subprocess.Popen([sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=file, text=True)
    heard: list[str] = []
    with Tail(log, most=3000) as tail:
        for batch in range(20):
            child.stdin.write(f"{batch}\n")
            child.stdin.flush()
            heard += read_until_end(tail)
            if tail.is_full:
                tail.put_aside()
        child.communicate(timeout=20)
    assert heard == [f"line {batch} {k}" for batch in range(20) for k in range(100)]
    files = [log, *(older(log, number) for number in range(1, FILES))]
    assert all(file.exists() for file in files)
    assert not older(log, FILES).exists()
    assert sum(file.stat().st_size for file in files) < FILES * 6000
    assert older(log, 1).read_text().endswith("line 19 99\nend\n")


def test_half_a_line_is_heard_when_it_is_whole_or_when_the_child_is_over(log):
    with fresh(log) as file, Tail(log) as tail:
        file.write(b"whole\nhal")
        file.flush()
        assert list(tail.lines()) == [b"whole\n"]
        assert list(tail.lines()) == []
        file.write(b"f\nlast")
        file.flush()
        assert list(tail.lines()) == [b"half\n"]
        assert list(tail.lines(is_over=True)) == [b"last"]


def test_every_start_begins_a_log_and_keeps_those_before(log):
    for start in range(7):
        with fresh(log) as file:
            file.write(b"start %d" % start)
    kept = [path.read_text() for path in (log, *(older(log, number) for number in range(1, FILES)))]
    assert kept == ["start 6", "start 5", "start 4", "start 3", "start 2"]


def test_a_disk_without_room_costs_the_old_lines_and_not_the_child(log, tmp_path):
    with fresh(log) as file, Tail(log, most=10) as tail:
        file.write(b"a line of some length\n")
        file.flush()
        assert list(tail.lines())
        (older(log, 1) / "in the way").mkdir(parents=True)
        (older(log, 2)).write_text("")
        for number in (3, 4):
            (older(log, number) / "in the way").mkdir(parents=True)
        tail.put_aside()
        file.write(b"the next\n")
        file.flush()
        assert list(tail.lines()) == [b"the next\n"]
