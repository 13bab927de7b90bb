"""A path as it is typed, and a file that is there whole or not at all."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from synaptic.errors import SynapticError
from synaptic.files import appearing, path_of, write_whole


def test_a_home_is_found_and_one_that_is_nobodys_stays_as_it_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert path_of("~/m.gguf") == Path("/home/somebody/m.gguf")
    assert path_of("~nobody-is-called-so/m.gguf") == Path("~nobody-is-called-so/m.gguf")


def test_until_all_is_written_the_old_file_stands(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_whole(path, "old")
    with appearing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_whole(path, "old")
    with contextlib.suppress(KeyError), appearing(path) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SynapticError, match="cannot write .*/file/figures.json: "):
        write_whole(tmp_path / "file" / "figures.json", "new")
