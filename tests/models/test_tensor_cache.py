"""The folder of a caching rpc-server, without one."""

from __future__ import annotations

import os
import random
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest
from models.conftest import F16, F32, write_model

from synaptic.environment import Environment
from synaptic.errors import EngineError, SynapticError
from synaptic.models.fnv import LANES, OFFSET, advance, name
from synaptic.models.seed import Seeded, room_for, seed
from synaptic.models.tensor_cache import (
    Kept,
    alone,
    cache_folder,
    damaged,
    drop_unfinished,
    held,
    kept_in,
    made,
    remove,
    sent_weights,
    surplus,
)
from synaptic.models.tensor_hash import BITE, Stretch, hashed

SIZES = (BITE * 2 + 17, 1, BITE, 5000, BITE - 1, 33_000, 5000)


@pytest.fixture
def weights(tmp_path: Path) -> list[Stretch]:
    """Seven stretches of one file, with something between them."""
    source, data, found = random.Random(7), b"", []
    for size in SIZES:
        data += source.randbytes(100)
        found.append(Stretch(tmp_path / "model", len(data), size))
        data += source.randbytes(size)
    (tmp_path / "model").write_bytes(data)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "rpc"


def nothing(count: int) -> None:
    pass


def data_of(stretch: Stretch) -> bytes:
    return stretch.path.read_bytes()[stretch.start : stretch.start + stretch.bytes]


def name_of(data: bytes) -> str:
    states = [OFFSET] * LANES
    advance([memoryview(data), *([memoryview(b"")] * (LANES - 1))], states, fast=False)
    return name(states[0])


def fill(weights: list[Stretch], folder: Path, tell: Callable[[int], None] = nothing) -> Seeded:
    return seed(weights, folder, tell, threading.Event())


def test_each_stretch_gets_the_name_of_its_own_data(weights: list[Stretch]) -> None:
    found = dict(hashed(deque(weights), nothing, threading.Event()))
    assert found == {weight: name_of(data_of(weight)) for weight in weights}


def test_seeding_writes_each_tensor_under_its_name_and_nothing_else(weights: list[Stretch], folder: Path) -> None:
    heard: list[int] = []
    assert fill(weights, folder, heard.append) == Seeded(len(SIZES), 0, sum(SIZES))
    assert sum(heard) == sum(SIZES)
    written = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}
    assert written == {name_of(data_of(weight)): data_of(weight) for weight in weights}
    assert not list(folder.glob("*.part"))
    assert folder.stat().st_mode & 0o077 == 0


def test_what_is_there_is_not_written_again_unless_it_is_short(weights: list[Stretch], folder: Path) -> None:
    fill(weights, folder)
    short = folder / name_of(data_of(weights[3]))
    short.unlink()
    short.write_bytes(b"half")
    untouched = {path: path.stat().st_ino for path in folder.iterdir() if path != short}
    assert fill(weights, folder) == Seeded(1, len(SIZES) - 1, SIZES[3])
    assert short.read_bytes() == data_of(weights[3])
    assert {path: path.stat().st_ino for path in untouched} == untouched


def test_seeding_that_is_stopped_leaves_only_whole_tensors(weights: list[Stretch], folder: Path) -> None:
    stop = threading.Event()
    seed(weights, folder, lambda count: stop.set(), stop)
    left = [path for path in folder.iterdir() if path.name != ".lock"]
    assert len(left) < len(SIZES)
    assert all(name_of(path.read_bytes()) == path.name for path in left)


def test_equal_tensors_are_kept_once(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "model").write_bytes(b"x" * 4000)
    twins = [Stretch(tmp_path / "model", start, 1000) for start in range(0, 4000, 1000)]
    fill(twins, folder)
    assert [each.bytes for each in kept_in(folder)] == [1000]


def test_a_model_that_changes_or_shrinks_meanwhile_is_not_kept(weights: list[Stretch], folder: Path) -> None:
    with pytest.raises(EngineError, match="changed while it was read"):
        fill(weights, folder, lambda count: os.utime(weights[0].path, (1, 1)))
    assert kept_in(folder) == []
    with pytest.raises(EngineError, match="became shorter while it was read"):
        fill(weights, folder, lambda count: os.truncate(weights[0].path, 0))
    assert kept_in(folder) == []


def test_one_command_at_a_time(weights: list[Stretch], folder: Path) -> None:
    with alone(folder), pytest.raises(SynapticError, match="another cache command is at work"):
        fill(weights, folder)
    assert fill(weights, folder).written == len(SIZES)


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SynapticError, match="cannot write into .*: not a directory"):
        made(tmp_path / "file" / "rpc")
    with pytest.raises(SynapticError, match=r"1 EiB|1048576 TiB are missing"):
        room_for(2**60, tmp_path / "not" / "yet")


def test_the_share_that_is_held(weights: list[Stretch], folder: Path) -> None:
    assert held(weights, folder, kept_in(folder)) == 0
    fill(weights[:3], folder)
    assert held(weights, folder, kept_in(folder)) == sum(SIZES[:3])
    stranger = folder / "0123456789abcdef"
    stranger.write_bytes(bytes(SIZES[3]))  # the size of a tensor, but another one
    assert held(weights, folder, kept_in(folder)) == sum(SIZES[:3])


def test_the_longest_unused_goes_first(weights: list[Stretch], folder: Path) -> None:
    fill(weights, folder)
    kept = kept_in(folder)
    for age, each in enumerate(kept):
        os.utime(folder / each.name, (1000 - age, 1000 - age))
    going = surplus(kept_in(folder), sum(SIZES) - 1)
    assert [each.name for each in going] == [kept[-1].name]
    (folder / ".0123456789abcdef-1.part").write_bytes(b"left by a stopped one")
    assert remove(folder, going) == going[0].bytes + 21
    assert {each.name for each in kept_in(folder)} == {each.name for each in kept[:-1]}
    assert surplus(kept, 0) == sorted(kept, key=lambda each: each.used_at)
    assert surplus(kept, sum(SIZES)) == []


def test_only_what_an_rpc_server_wrote_is_looked_at(folder: Path) -> None:
    assert kept_in(folder) == []
    folder.mkdir(parents=True)
    (folder / "README").write_text("mine")
    (folder / "0123456789abcdef").symlink_to("README")
    (folder / "0123456789ABCDEF").write_text("not as it writes them")
    (folder / "fedcba9876543210").mkdir()
    assert kept_in(folder) == []
    remove(folder, [])
    assert (folder / "README").exists()


def test_damage_is_found(weights: list[Stretch], folder: Path) -> None:
    fill(weights, folder)
    bad = folder / name_of(data_of(weights[0]))
    bad.chmod(0o600)
    with bad.open("r+b") as file:
        file.seek(BITE)
        file.write(b"!")
    (folder / "0000000000000000").touch()
    found = damaged(folder, kept_in(folder), nothing, threading.Event())
    assert {each.name for each in found} == {bad.name, "0000000000000000"}


def test_what_a_killed_server_wrote_last_is_dropped(weights: list[Stretch], folder: Path) -> None:
    fill(weights[:1], folder)
    (seeded,) = kept_in(folder)
    for written, at in (("00000000000000aa", 90.0), ("00000000000000bb", 110.0)):
        (folder / written).write_bytes(b"half a tensor")
        os.utime(folder / written, (at, at))
    drop_unfinished(folder, 100.0)
    assert {each.name for each in kept_in(folder)} == {seeded.name, "00000000000000aa"}
    drop_unfinished(folder / "nowhere", 0.0)


def test_only_tensors_over_10_mib_that_leave_the_coordinator_are_kept(tmp_path: Path) -> None:
    limit = 10 * 1024**2
    exactly, more = (limit // 4096, 1024), (limit // 4096 + 1, 1024)
    tensors = {"token_embd.weight": (more, F32), "blk.0.ffn_up.weight": (more, F32), "blk.0.ffn_down.weight": (exactly, F32)}
    tied = sent_weights(write_model(tmp_path / "tied.gguf", tensors, layers=1))
    assert [each.bytes for each in tied] == [limit + 4096, limit + 4096]
    (own,) = sent_weights(write_model(tmp_path / "own.gguf", {**tensors, "output.weight": ((8, 1024), F16)}, layers=1))
    assert own.bytes == limit + 4096
    assert own.start % 32 == 0


def test_every_file_of_a_model_in_several_counts(tmp_path: Path) -> None:
    for number in (0, 1):
        tensors = {f"blk.{number}.ffn_up.weight": ((2561, 1024), F32)}
        numbers = {"split.count": 2, "split.no": number}
        write_model(tmp_path / f"m-0000{number + 1}-of-00002.gguf", tensors, layers=2, numbers=numbers)
    found = sent_weights(tmp_path / "m-00001-of-00002.gguf")
    assert [each.path.name for each in found] == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]


def test_where_workers_look(tmp_path: Path) -> None:
    def folder(**variables: str) -> Path | None:
        world = Environment.of_this_process()
        return cache_folder(Environment(variables, world.stdin, world.stdout, world.stderr))

    assert folder(LLAMA_CACHE=str(tmp_path)) == tmp_path / "rpc"
    assert folder(SYNAPTICLLAMAS_HOME=str(tmp_path)) == tmp_path / "cache" / "llama.cpp" / "rpc"
    assert folder(HOME="/nonexistent") is None


def test_a_kept_tensor_counts_as_used_when_it_was_read(folder: Path) -> None:
    folder.mkdir(parents=True)
    path = folder / "0123456789abcdef"
    path.write_bytes(b"x")
    os.utime(path, (2000, 1000))
    assert kept_in(folder) == [Kept(path.name, 1, 2000.0)]
    held([Stretch(path, 0, 1)], folder, kept_in(folder))
    assert kept_in(folder) == [Kept(path.name, 1, 2000.0)]  # our own looking is no use of it
