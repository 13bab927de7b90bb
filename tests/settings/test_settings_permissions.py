"""Where we may not read or write, nothing is lost and the user is told."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from synaptic.errors import SynapticError
from synaptic.settings import Settings


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder of an ordinary user, and this process as that user: root may do anything."""
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() != 0:
            yield Path(name)
            return
        nobody = 65534
        os.chown(name, nobody, nobody)
        os.seteuid(nobody)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


def test_a_file_that_may_not_be_read_is_left_alone(own_folder: Path) -> None:
    file = own_folder / "s.json"
    file.write_bytes(b'{"model": "old"}')
    file.chmod(0)
    ours = Settings.load(file, {})
    assert "permission denied" in ours.warnings[0]
    with pytest.raises(SynapticError, match="permission denied"):
        ours.save(model="new")
    file.chmod(0o600)
    assert file.read_bytes() == b'{"model": "old"}'


def test_a_home_that_may_not_be_written_keeps_changes_in_memory_and_says_so_once(own_folder: Path) -> None:
    file = own_folder / "s.json"
    file.write_bytes(b'{"model": "old"}')
    own_folder.chmod(0o500)
    ours = Settings.load(file, {})
    ours.save(threads=2)
    ours.save(threads=3)
    assert (ours.now.model, ours.now.threads) == ("old", 3)
    assert [warning for warning in ours.warnings if "until you leave" in warning] == ours.warnings[:1]
    assert not ours.is_saved
    assert [each.name for each in own_folder.iterdir()] == ["s.json"]


def test_a_broken_file_that_cannot_be_moved_is_not_lost(own_folder: Path) -> None:
    file = own_folder / "s.json"
    file.write_bytes(b"{")
    own_folder.chmod(0o500)
    ours = Settings.load(file, {})
    ours.save(threads=2)
    assert "could not be moved aside" in ours.warnings[0]
    assert file.read_bytes() == b"{"
