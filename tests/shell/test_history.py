from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from synaptic.shell.history import LONGEST, MOST, FileTail, history_in


def load(path: Path) -> list[str]:
    return list(FileTail(path).load_history_strings())


def test_lines_come_back_newest_first_with_their_line_breaks(tmp_path: Path) -> None:
    history = FileTail(tmp_path / "history")
    for line in ("one", "two\nlines", "# three", "+four"):
        history.store_string(line)
    assert load(tmp_path / "history") == ["+four", "# three", "two\nlines", "one"]


def test_two_shells_lose_nothing_of_each_other(tmp_path: Path) -> None:
    first, second = FileTail(tmp_path / "history"), FileTail(tmp_path / "history")
    for number in range(10):
        (first if number % 2 else second).append_string(f"line {number}")
    assert load(tmp_path / "history") == [f"line {number}" for number in reversed(range(10))]


def test_the_file_is_only_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "state" / "history"
    before = os.umask(0)
    try:
        FileTail(path).store_string("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "line",
    [
        "config set api_key abc",
        "config set consul_token x",
        "/config set Password x",
        "config set whatever sk-abcdef",
        "nodes add http://me:word@host:11434",
        "deploy apply --consul-token abc",
    ],
)
def test_secrets_are_not_stored(tmp_path: Path, line: str) -> None:
    FileTail(tmp_path / "history").store_string(line)
    assert load(tmp_path / "history") == []


@pytest.mark.parametrize("line", ["config set max_tokens 100", "what is a token?", "rpc add 127.0.0.1:50052 --timeout 5"])
def test_ordinary_lines_are_stored(tmp_path: Path, line: str) -> None:
    FileTail(tmp_path / "history").store_string(line)
    assert load(tmp_path / "history") == [line]


def test_a_hundred_megabytes_start_fast(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(b"\n# then\n+an old line of some length\n" * 3_000_000)
    FileTail(path).store_string("the newest")
    began = time.process_time()
    lines = load(path)
    assert time.process_time() - began < 1
    assert lines[0] == "the newest"
    assert len(lines) == MOST
    assert set(lines[1:]) == {"an old line of some length"}


def test_a_pasted_book_is_not_remembered(tmp_path: Path) -> None:
    FileTail(tmp_path / "history").store_string("x" * (LONGEST + 1))
    assert not (tmp_path / "history").exists()


@pytest.mark.parametrize("damage", ["bytes", "folder", "pipe", "nowhere"])
def test_damage_costs_the_history_and_nothing_else(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "history"
    if damage == "bytes":
        path.write_bytes(b"\xff\x00\n+ok\xfe\n# \n+two\n")
    elif damage == "folder":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    else:
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "history"
    FileTail(path).store_string("typed")
    assert load(path) == (["typed", "two", "ok\ufffd"] if damage == "bytes" else [])


def test_without_a_home_lines_are_remembered_until_the_end() -> None:
    history = history_in(None)
    history.append_string("one")
    assert history.get_strings() == ["one"]
