"""The file: old or new and never torn, whatever stands there and whoever is killed."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from synaptic.errors import SynapticError
from synaptic.settings import Settings
from synaptic.settings.file import Loaded, SettingsFile
from synaptic.settings.text import LIMIT, Document

WRITER = Path(__file__).parents[1] / "fakes" / "settings_writer.py"
OLD = b'{"model": "old", "future": [1, {"x": null}]}'


def run(*words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(WRITER), *map(str, words)])


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def set_model(path: Path, model: str = "new") -> Loaded:
    def edit(document: Document) -> None:
        document["model"] = model

    return SettingsFile(path).change(edit, otherwise={})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "s.json"


@pytest.fixture
def file(path: Path) -> Path:
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


# whoever is killed


def test_a_save_killed_at_any_step_leaves_the_old_or_the_new_file(file: Path) -> None:
    seen: set[str] = set()
    for step in range(1, 200):
        file.write_bytes(OLD)
        status = run(file, "set", "model", "new", "--die-at", step).wait()
        left = json.loads(file.read_bytes())
        assert left in ({"model": "old", "future": [1, {"x": None}]}, {"model": "new", "future": [1, {"x": None}]})
        seen.add(left["model"])
        assert SettingsFile(file).load() == Loaded(left), "the next start finds nothing wrong"
        set_model(file, "after")
        assert names(file.parent) == ["s.json", "s.json.bak", "s.json.lock"], "the next save cleans up"
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert step > 15
    assert seen == {"old", "new"}


def test_a_start_killed_while_it_moves_a_broken_file_loses_neither_it_nor_its_backup(file: Path) -> None:
    for step in range(1, 200):
        for each in file.parent.iterdir():
            each.unlink()
        file.write_bytes(OLD[:-1])
        file.with_name("s.json.bak").write_bytes(OLD)
        status = run(file, "load", "--die-at", step).wait()
        loaded = SettingsFile(file).load()
        set_model(file)
        set_model(file, "newer")
        contents = [each.read_bytes() for each in file.parent.iterdir()]
        assert OLD[:-1] in contents
        assert OLD in contents
        assert loaded.warning is None or ".bak" in loaded.warning
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert step > 5


def test_four_programs_that_add_at_once_lose_nothing(path: Path) -> None:
    writers = [run(path, "add", f"127.0.0.{number}", 200) for number in range(2, 6)]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert len({(each["host"], each["port"]) for each in json.loads(path.read_bytes())["rpc_backends"]}) == 800


def test_a_lock_that_is_never_given_back_is_named(file: Path) -> None:
    lock = file.with_name("s.json.lock")
    with lock.open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(SynapticError, match=r"s\.json\.lock") as caught:
            SettingsFile(file, patience=0.05).change(lambda document: document.clear(), otherwise={})
    assert caught.value.hint
    assert file.read_bytes() == OLD


# what is broken


def test_a_file_cut_anywhere_is_moved_aside_and_at_most_five_are_kept(file: Path) -> None:
    for size in range(len(OLD)):
        file.write_bytes(OLD[:size])
        loaded = SettingsFile(file).load()
        assert loaded.document == {}
        assert loaded.warning
        assert not file.exists()
        asides = [each for each in file.parent.iterdir() if each.name.startswith("s.json.corrupt-")]
        assert OLD[:size] in [each.read_bytes() for each in asides]
        assert len(asides) == min(size + 1, 5)
        assert {stat.S_IMODE(each.stat().st_mode) for each in asides} == {0o600}


def test_a_huge_file_is_moved_without_being_read(file: Path) -> None:
    os.truncate(file, 200 * 1024 * 1024)
    loaded = SettingsFile(file).load()
    assert "larger than 8 MB" in (loaded.warning or "")
    assert sum(each.stat().st_size for each in file.parent.iterdir()) == 200 * 1024 * 1024


def test_a_broken_file_is_named_and_its_backup_offered(file: Path) -> None:
    set_model(file)
    file.write_bytes(b"{")
    loaded = SettingsFile(file).load()
    [aside] = [name for name in names(file.parent) if "corrupt" in name]
    assert aside in (loaded.warning or "")
    set_model(file)
    set_model(file, "newer")  # which makes a new backup
    subprocess.run((loaded.warning or "").partition("back: ")[2], shell=True, check=True)
    assert file.read_bytes() == OLD


def test_a_broken_file_without_a_backup_says_so(file: Path) -> None:
    file.write_bytes(b"{")
    assert "no backup" in (SettingsFile(file).load().warning or "")


def test_a_file_that_breaks_while_we_run_is_moved_aside_by_the_save_and_what_we_know_stays(file: Path) -> None:
    ours = Settings.load(file, {})
    file.write_bytes(b"{")
    ours.save(threads=2)
    assert json.loads(file.read_bytes()) == {"model": "old", "future": [1, {"x": None}], "threads": 2}
    assert any("corrupt" in warning for warning in ours.warnings)
    assert any("corrupt" in name for name in names(file.parent))


# what a read and a save leave behind


def test_reading_writes_nothing(file: Path) -> None:
    before = file.stat()
    SettingsFile(file).load()
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert names(file.parent) == ["s.json"]


def test_a_save_that_changes_nothing_writes_nothing(file: Path) -> None:
    before = file.stat()
    set_model(file, "old")
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_the_version_before_is_kept_as_it_was(file: Path) -> None:
    set_model(file)
    assert file.with_name("s.json.bak").read_bytes() == OLD


def test_a_new_file_is_private_under_any_umask_and_its_folder_is_made(path: Path) -> None:
    before = os.umask(0)
    try:
        set_model(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(path.parent) == ["s.json", "s.json.lock"]


def test_an_existing_mode_is_kept_and_the_backup_has_it_too(file: Path) -> None:
    file.chmod(0o640)
    set_model(file)
    assert {stat.S_IMODE(each.stat().st_mode) for each in (file, file.with_name("s.json.bak"))} == {0o640}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_leaves_a_file_to_its_owner(file: Path) -> None:
    os.chown(file, 65534, 65534)
    set_model(file)
    assert (file.stat().st_uid, file.stat().st_gid) == (65534, 65534)


def test_a_disk_that_fills_up_in_the_middle_of_a_save_leaves_the_old_file(file: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        with pytest.raises(SynapticError, match="file too large"):
            set_model(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert file.read_bytes() == OLD
    assert names(file.parent) == ["s.json", "s.json.lock"]


def test_what_could_not_be_read_again_is_not_written(file: Path) -> None:
    with pytest.raises(SynapticError, match="larger than 8 MB"):
        set_model(file, "x" * LIMIT)
    assert file.read_bytes() == OLD


# links, and what is no file


@pytest.mark.parametrize("exists", [True, False], ids=["", "dangling"])
@pytest.mark.parametrize("link_to", [lambda there: there, lambda there: Path("..") / "dots" / there.name], ids=["absolute", "relative"])
def test_a_link_stays_a_link(tmp_path: Path, path: Path, link_to: Callable[[Path], Path], exists: bool) -> None:
    there = tmp_path / "dots" / "settings"
    path.parent.mkdir()
    path.symlink_to(link_to(there))
    if exists:
        there.parent.mkdir()
        there.write_bytes(OLD)
    set_model(path)
    assert path.is_symlink()
    assert names(path.parent) == ["s.json"]
    assert json.loads(there.read_bytes())["model"] == "new"


def test_a_link_to_a_broken_file_stays_and_is_followed_where_it_leads_now(tmp_path: Path, file: Path) -> None:
    link, elsewhere = tmp_path / "link", tmp_path / "elsewhere"
    link.symlink_to(file)
    file.write_bytes(b"{")
    ours = Settings.load(link, {})
    assert link.is_symlink()
    assert any(name.startswith("s.json.corrupt-") for name in names(file.parent))
    link.unlink()
    link.symlink_to(elsewhere)
    ours.save(model="new")
    assert json.loads(elsewhere.read_bytes()) == {"model": "new"}
    assert not file.exists()


def make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def make_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def make_loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def make_hard_link(file: Path) -> None:
    file.with_name("other").hardlink_to(file)


@pytest.mark.parametrize(
    ("make", "says", "is_read"),
    [
        (make_folder, "folder", False),
        (make_fifo, "no regular file", False),
        (make_loop, "symbolic links", False),
        (make_hard_link, "2 hard links", True),
        (lambda file: file.chmod(0o444), "read-only", True),
    ],
    ids=["folder", "fifo", "loop", "hard link", "read-only"],
)
def test_what_must_not_be_replaced_is_left_and_the_save_says_why(
    file: Path, make: Callable[[Path], None], says: str, is_read: bool
) -> None:
    make(file)
    before = file.lstat()
    loaded = SettingsFile(file).load()
    assert (says in (loaded.warning or "")) is not is_read
    assert ("model" in loaded.document) is is_read
    with pytest.raises(SynapticError, match=says) as caught:
        set_model(file)
    assert caught.value.hint
    assert file.lstat() == before
    assert not file.with_name("s.json.saving").exists()
