"""What is written of coordinators, read by another program: only what is true counts."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from synaptic.endpoint import Endpoint
from synaptic.errors import EngineError, SynapticError
from synaptic.models.model import LLAMA_CPP, Model, Offer
from synaptic.planning.plan import Plan
from synaptic.process.coordinator_entry import KEY, Entry, Process, same
from synaptic.process.coordinator_ledger import CoordinatorLedger
from synaptic.process.flocks import Flock

MODEL = Model("a/b: ü", "folder", Path("demo.gguf"), "llama", 1, 1, 4, 512, "Q4_0", 1, (LLAMA_CPP,), 0.5, 12.25)
PLAN = Plan(MODEL, (Endpoint("127.0.0.1", 50052),), 512, 2, (3.0, 2.0))
GONE = Process(2**22 + 1, "another boot/1")
SLEEP = (sys.executable, "-c", "import time; time.sleep(300)")


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def run(key: str = "") -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(SLEEP, env={**os.environ, KEY: key}, start_new_session=True))
        while not psutil.Process(started[-1].pid).environ():  # it shows none while its program is being loaded
            time.sleep(0.001)
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def ledger(tmp_path: Path) -> CoordinatorLedger:
    return CoordinatorLedger(tmp_path / "coordinators")


def entry_of(process: subprocess.Popen[bytes], plan: Plan = PLAN) -> Entry:
    us = Process.of_us()
    return Entry(plan, "the key", Path("/tmp/x.log"), us, Process.of(process.pid), "http://127.0.0.1:1")


def named(plan: Plan, name: str, *workers: Endpoint) -> Plan:
    return dataclasses.replace(plan, model=dataclasses.replace(MODEL, name=name), workers=workers)


def test_another_program_reads_what_was_written_and_nobody_else_may(ledger: CoordinatorLedger, tmp_path: Path, start) -> None:
    entry = entry_of(start())
    ledger.write(entry)
    assert CoordinatorLedger(tmp_path / "coordinators").entries() == [entry]
    (file,) = (tmp_path / "coordinators").glob("*.json")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert entry.is_ours
    assert not entry.is_elsewhere


def test_the_dead_are_erased(ledger: CoordinatorLedger, tmp_path: Path, start) -> None:
    process = start()
    ledger.write(entry_of(process))
    process.kill()
    process.wait()
    assert ledger.entries() == []
    assert not list((tmp_path / "coordinators").glob("*.json"))


@pytest.mark.parametrize("lie", ["identity", "executable"])
def test_a_process_that_is_another_one_is_not_believed(ledger: CoordinatorLedger, start, lie: str) -> None:
    entry = entry_of(start())
    assert entry.process
    wrong = {"started": "another boot/1"} if lie == "identity" else {"executable": "/bin/true"}
    ledger.write(dataclasses.replace(entry, process=dataclasses.replace(entry.process, **wrong)))
    assert ledger.entries() == []


def test_a_program_that_was_started_through_another_is_known_by_its_key(ledger: CoordinatorLedger, start) -> None:
    entry = entry_of(start("the key"))
    assert entry.process
    ledger.write(dataclasses.replace(entry, process=dataclasses.replace(entry.process, executable="/bin/sh")))
    assert [each.key for each in ledger.entries()] == ["the key"]


def test_one_whose_pid_was_never_written_is_found_by_its_key(ledger: CoordinatorLedger, start) -> None:
    process = start("the key")
    ledger.write(Entry(PLAN, "the key", Path("x"), GONE))
    (entry,) = ledger.entries()
    assert entry.process == Process.of(process.pid)


def test_one_that_never_ran_is_erased_once_whoever_would_have_started_it_has_ended(ledger: CoordinatorLedger, tmp_path: Path) -> None:
    entry = Entry(PLAN, "the key", Path("x"), Process.of_us())
    ledger.write(entry)
    assert ledger.entries() == [entry]
    ledger.write(dataclasses.replace(entry, owner=GONE))
    assert ledger.entries() == []
    assert not list((tmp_path / "coordinators").glob("*.json"))


def test_one_whose_process_was_forked_and_does_not_run_yet_is_kept(ledger: CoordinatorLedger, tmp_path: Path) -> None:
    ledger.write(Entry(PLAN, "the key", Path("x"), GONE))
    (file,) = (tmp_path / "coordinators").glob("*.json")
    lock = Flock(file.with_suffix(".lock"))  # such a process still has it open
    assert lock.take()
    assert len(ledger.entries()) == 1
    lock.give_back()
    assert ledger.entries() == []


def test_a_worker_is_claimed_once(ledger: CoordinatorLedger, start) -> None:
    first, other = Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", 2)
    ledger.claim(entry_of(start(), named(PLAN, "one", first)))
    with pytest.raises(EngineError, match="127.0.0.1:1 is in use by coordinator one") as caught:
        ledger.claim(entry_of(start(), named(PLAN, "two", other, first)))
    assert "coordinator stop one" in str(caught.value.hint)
    ledger.claim(entry_of(start(), named(PLAN, "two", other)))
    with pytest.raises(EngineError, match="two is up already"):
        ledger.claim(entry_of(start(), named(PLAN, "two")))


def test_a_later_start_is_not_erased_with_an_earlier_one(ledger: CoordinatorLedger, start) -> None:
    early = entry_of(start())
    late = dataclasses.replace(early, key="another")
    ledger.write(late)
    ledger.erase(early)
    assert ledger.entries() == [late]
    ledger.erase(late)
    assert ledger.entries() == []


def test_who_was_stopped_is_known_and_who_came_after_is_another(ledger: CoordinatorLedger, start) -> None:
    first, second = entry_of(start()), entry_of(start())
    ledger.write(first)
    assert not ledger.was_stopped(first)
    ledger.mark_stopped(first)
    ledger.erase(first)
    assert ledger.was_stopped(first)
    assert not ledger.was_stopped(second)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"plan": 3}', '{"plan": {"model": {}}}', "\udcff"])
def test_a_broken_entry_is_dropped(ledger: CoordinatorLedger, tmp_path: Path, text: str) -> None:
    (tmp_path / "coordinators").mkdir()
    (tmp_path / "coordinators" / "x.json").write_bytes(text.encode(errors="surrogateescape"))
    assert ledger.entries() == []


def test_what_another_release_writes_beside_is_passed_over(ledger: CoordinatorLedger, tmp_path: Path, start) -> None:
    entry = entry_of(start())
    ledger.write(entry)
    (file,) = (tmp_path / "coordinators").glob("*.json")
    raw = json.loads(file.read_text())
    raw["plan"]["new"] = raw["plan"]["model"]["new"] = raw["new"] = 1
    file.write_text(json.dumps(raw))
    assert ledger.entries() == [entry]


def test_the_same_split_of_the_same_file_is_the_same() -> None:
    offer = Offer("x", "http://127.0.0.1:1", "ollama")
    assert same(PLAN, dataclasses.replace(PLAN, model=dataclasses.replace(MODEL, offers=(offer,))))
    for other in ({"workers": ()}, {"context": 1}, {"slots": 1}, {"tensor_split": ()}, {"model": dataclasses.replace(MODEL, modified=1.0)}):
        assert not same(PLAN, dataclasses.replace(PLAN, **other))


def test_without_a_folder_nothing_is_kept(start) -> None:
    ledger = CoordinatorLedger(None)
    ledger.claim(entry_of(start()))
    assert ledger.entries() == []


@pytest.mark.anyio
async def test_a_folder_that_cannot_be_is_named_and_nothing_else_fails(tmp_path: Path, start) -> None:
    (tmp_path / "file").touch()
    ledger, entry = CoordinatorLedger(tmp_path / "file" / "coordinators"), entry_of(start())
    with pytest.raises(SynapticError, match="cannot write .*file"):
        ledger.write(entry)
    with pytest.raises(SynapticError, match="cannot write .*file"):
        async with ledger.turn("demo", 1.0):
            pass
    with ledger.turn_if_free("demo"):
        ledger.mark_stopped(entry)
    assert not ledger.was_stopped(entry)
    assert ledger.entries() == []


@pytest.mark.anyio
async def test_one_at_a_time_starts_a_model(tmp_path: Path) -> None:
    first, second = CoordinatorLedger(tmp_path), CoordinatorLedger(tmp_path)
    order: list[str] = []

    async def take() -> None:
        async with second.turn("demo", 30.0):
            order.append("second")

    async with first.turn("demo", 30.0):
        waiting = asyncio.create_task(take())
        async with second.turn("another", 30.0):
            order.append("another")
        order.append("first")
    await asyncio.wait_for(waiting, 30)
    assert order == ["another", "first", "second"]


@pytest.mark.anyio
async def test_a_start_that_does_not_move_on_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    async with CoordinatorLedger(tmp_path).turn("demo", 1.0):
        with pytest.raises(EngineError, match="another shell starts demo, without progress for 0.2 s"):
            async with CoordinatorLedger(tmp_path).turn("demo", 0.2):
                pass
