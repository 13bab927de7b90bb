"""The real llama-server, started by one program and found by another."""

from __future__ import annotations

import asyncio
import dataclasses
import http.server
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest
from conftest import DEMO, Worker, end

from synaptic.cluster.backend import State as Health
from synaptic.cluster.pool import Pool
from synaptic.endpoint import Endpoint
from synaptic.environment import Environment
from synaptic.errors import EngineError, SynapticError
from synaptic.events import Bus, ChildSpoke, Noticed
from synaptic.models.catalog import Catalog
from synaptic.models.model import Model
from synaptic.planning.plan import Plan
from synaptic.process.child import Patience, State
from synaptic.process.coordinator import Coordinator
from synaptic.process.coordinator_entry import Entry, Process
from synaptic.process.coordinator_ledger import CoordinatorLedger
from synaptic.process.coordinators import Coordinators
from synaptic.process.failed_starts import FailedStarts
from synaptic.process.install import Engines

pytestmark = [pytest.mark.anyio, pytest.mark.live]
Start = Callable[..., Worker]
GONE = Process(2**22 + 1, "another boot/1")


@dataclasses.dataclass(frozen=True)
class Program:
    """What a session holds."""

    coordinators: Coordinators
    bus: Bus
    pool: Pool

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.bus.history if isinstance(event, Noticed)]


@pytest.fixture
def ledger(tmp_path: Path) -> CoordinatorLedger:
    return CoordinatorLedger(tmp_path / "coordinators")


@pytest.fixture
async def program(llama_server: Path, tmp_path: Path, ledger: CoordinatorLedger) -> AsyncIterator[Callable[..., Program]]:
    """Makes programs that share one ledger."""
    made: list[Program] = []

    def make(*, stays: bool = True, failed: FailedStarts | None = None) -> Program:
        bus = Bus()
        pool = Pool(bus)
        coordinators = Coordinators(
            Engines(Environment.of_this_process()),
            pool,
            bus,
            logs=tmp_path / "logs",
            variables=os.environ,
            tuning=lambda: (Patience(start=20.0, terms=(0.4, 0.4)), 1),
            state=tmp_path / "coordinators",
            stays=lambda: stays,
            failed=failed,
        )
        made.append(Program(coordinators, bus, pool))
        return made[-1]

    yield make
    for each in made:
        await each.coordinators.stop()


@pytest.fixture
def demo() -> Model:
    return Catalog(lambda: (), DEMO).find("demo")


@pytest.fixture
def other_shell() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    yield process
    end(process)


def plan(model: Model, *workers: Worker) -> Plan:
    return Plan(model, tuple(worker.endpoint for worker in workers), 512)


def rewrite(ledger: CoordinatorLedger, **changes: object) -> Entry:
    (entry,) = ledger.entries()
    ledger.write(changed := dataclasses.replace(entry, **changes))
    return changed


async def left(program: Callable[..., Program], ledger: CoordinatorLedger, wanted: Plan, owner: Process = GONE) -> Coordinator:
    """A coordinator that runs, and whose owner has ended, or is `owner`."""
    before = program()
    coordinator = await before.coordinators.ensure(wanted)
    before.coordinators.let_go()
    rewrite(ledger, owner=owner)
    return coordinator


async def until(coordinator: Coordinator, state: State) -> None:
    async with asyncio.timeout(20):
        while coordinator.state is not state:
            await asyncio.sleep(0.01)


async def test_one_that_was_left_is_found_and_used_and_belongs_to_who_uses_it(program, ledger, rpc_worker: Start, demo: Model) -> None:
    wanted = plan(demo, rpc_worker(), rpc_worker())
    old, new = await left(program, ledger, wanted), program()
    new.coordinators.look()
    (found,) = new.coordinators.up()
    assert (found.state, found.child.pid, found.port, found.shares()) == (State.READY, old.child.pid, old.port, old.shares())
    assert new.coordinators.ours() == []
    assert [each for each in new.notices if "demo is still up, left by process" in each]
    assert await new.coordinators.ensure(wanted) is found
    assert new.coordinators.ours() == [found]
    assert ledger.entries()[0].owner == Process.of_us()
    assert not [each for each in new.bus.history if isinstance(each, ChildSpoke) and "buffer size" in each.line]
    assert await new.coordinators.stop("demo") == ["demo"]
    assert ledger.entries() == []
    assert await old.child.exited(20)


async def test_its_workers_are_in_use_here_and_nobody_asks_them(program, ledger, rpc_worker: Start, demo: Model, other_shell) -> None:
    worker = rpc_worker()
    owner = Process.of(other_shell.pid)
    assert owner
    await left(program, ledger, plan(demo, worker), owner)
    new = program()
    new.pool.add([worker.endpoint], "configured")
    new.coordinators.look()
    (answer,) = await new.pool.check()
    assert (answer.state, answer.detail) == (Health.IN_USE, f"in use by coordinator demo of process {owner.pid}")
    new.coordinators.let_go()


async def test_two_programs_share_one_and_only_its_owner_ends_it(program, ledger, rpc_worker: Start, demo: Model, other_shell) -> None:
    wanted, owner = plan(demo, rpc_worker()), Process.of(other_shell.pid)
    assert owner
    old, new = await left(program, ledger, wanted, owner), program()
    shared = await new.coordinators.ensure(wanted)
    await new.coordinators.ensure(wanted)
    assert shared.child.pid == old.child.pid
    assert new.notices == [f"demo is run by process {owner.pid}; it is shared, and stays when you leave"]
    await new.coordinators.close()
    assert not await old.child.exited(0)
    third = program()
    await third.coordinators.ensure(wanted)
    end(other_shell)
    await third.coordinators.ensure(wanted)  # the next one that uses it
    await third.coordinators.close()
    assert await old.child.exited(20)


async def test_who_only_asks_one_question_does_not_own_what_was_left(program, ledger, demo: Model) -> None:
    old, question = await left(program, ledger, plan(demo)), program(stays=False)
    await question.coordinators.ensure(plan(demo))
    await question.coordinators.close()
    assert question.notices == []
    assert not await old.child.exited(0)


async def test_another_model_does_not_take_its_workers_away(program, ledger, rpc_worker: Start, demo: Model, other_shell) -> None:
    worker, owner = rpc_worker(), Process.of(other_shell.pid)
    assert owner
    old, new = await left(program, ledger, plan(demo, worker), owner), program()
    with pytest.raises(EngineError, match=f"{worker.endpoint} is in use by coordinator demo of process {owner.pid}"):
        await new.coordinators.ensure(plan(dataclasses.replace(demo, name="other"), worker))
    with pytest.raises(EngineError, match=f"demo is run by process {owner.pid} with another plan .1 worker, 512 tokens"):
        await new.coordinators.ensure(plan(demo))
    assert not await old.child.exited(0)
    end(other_shell)
    await new.coordinators.ensure(plan(dataclasses.replace(demo, name="other"), worker))  # nobody needs it any more
    assert await old.child.exited(20)


async def test_its_end_is_noticed_here_too(program, ledger, rpc_worker: Start, demo: Model) -> None:
    wanted = plan(demo, rpc_worker())
    old, new = await left(program, ledger, wanted), program()
    found = await new.coordinators.ensure(wanted)
    assert found.child.pid
    os.kill(found.child.pid, signal.SIGKILL)
    await until(found, State.FAILED)
    assert new.pool.holder(wanted.workers[0]) is None
    again = await new.coordinators.ensure(wanted)
    assert again.child.pid != old.child.pid


async def test_what_its_owner_stops_did_not_crash(program, ledger, demo: Model, other_shell) -> None:
    owner = Process.of(other_shell.pid)
    assert owner
    first = program()
    old = await first.coordinators.ensure(plan(demo))
    rewrite(ledger, owner=owner)
    new = program()
    shared = await new.coordinators.ensure(plan(demo))
    await old.stop()
    await until(shared, State.STOPPED)
    assert shared.child.cause == ""
    new.coordinators.look()
    assert new.coordinators.all() == []


@pytest.mark.parametrize("lie", ["identity", "executable"])
async def test_a_process_that_is_another_one_is_never_signalled(program, ledger, demo: Model, other_shell, lie: str) -> None:
    innocent = Process.of(other_shell.pid)
    assert innocent
    wrong = {"started": "another boot/1"} if lie == "identity" else {"executable": "/bin/true"}
    old, new = await left(program, ledger, plan(demo)), program()
    stale = rewrite(ledger, process=dataclasses.replace(innocent, **wrong))
    assert await new.coordinators.stop() == []
    assert stale.process
    fresh = await new.coordinators.ensure(plan(demo))
    assert fresh.child.pid not in (innocent.pid, old.child.pid)
    assert other_shell.poll() is None
    await old.stop()


class Yes(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def says_yes() -> Iterator[str]:
    """A server that takes any key."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Yes)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("stolen", ["port", "key"])
async def test_another_server_at_its_port_or_another_key_is_not_believed(program, ledger, demo: Model, says_yes: str, stolen: str) -> None:
    old, new = await left(program, ledger, plan(demo)), program()
    rewrite(ledger, **({"url": says_yes} if stolen == "port" else {"key": "another"}))
    fresh = await new.coordinators.ensure(plan(demo))
    assert fresh.child.pid != old.child.pid
    assert fresh.url != says_yes
    assert await old.child.exited(20)  # it is ours by its identity, and nobody could use it


async def test_a_frozen_one_is_ended_and_replaced(program, ledger, rpc_worker: Start, demo: Model) -> None:
    wanted = plan(demo, rpc_worker())
    old, new = await left(program, ledger, wanted), program()
    pid = old.child.pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    fresh = await new.coordinators.ensure(wanted)
    assert fresh.child.pid != pid
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert "demo was found running, but does not answer: ending it" in new.notices


async def test_one_that_was_still_loading_is_waited_for(program, ledger, rpc_worker: Start, demo: Model) -> None:
    wanted = plan(demo, rpc_worker())
    old, new = await left(program, ledger, wanted), program()
    rewrite(ledger, url=None)
    new.coordinators.look()
    assert [each.state for each in new.coordinators.all()] == [State.STARTING]
    found = await new.coordinators.ensure(wanted)
    assert (found.state, found.child.pid, found.port) == (State.READY, old.child.pid, old.port)
    assert ledger.entries()[0].url == found.url


async def test_it_stands_in_the_ledger_before_it_serves(program, ledger, demo: Model, tmp_path: Path) -> None:
    new = program()
    starting = asyncio.create_task(new.coordinators.ensure(plan(demo)))
    while not (entries := ledger.entries()) or not entries[0].process:
        await asyncio.sleep(0)
        assert not starting.done()
    assert entries[0].url is None
    await starting
    assert ledger.entries()[0].url


async def test_two_that_start_at_once_are_one(program, rpc_worker: Start, demo: Model) -> None:
    wanted, programs = plan(demo, rpc_worker()), [program(), program(), program()]
    found = await asyncio.gather(*(each.coordinators.ensure(wanted) for each in programs))
    assert len({each.child.pid for each in found}) == 1


async def test_what_a_retry_cannot_cure_is_not_tried_again_until_the_user_acts(program, demo: Model, tmp_path: Path) -> None:
    broken = dataclasses.replace(demo, path=tmp_path / "broken.gguf")
    (tmp_path / "broken.gguf").write_bytes(DEMO.read_bytes()[:100_000])
    new = program()
    for expected in ("ended before it was ready", "it was tried, and nothing has changed"):
        with pytest.raises(EngineError, match=expected):
            await new.coordinators.ensure(plan(broken))
    new.coordinators.try_again("demo")
    with pytest.raises(EngineError, match="ended before it was ready"):
        await new.coordinators.ensure(plan(broken))


async def test_a_folder_that_cannot_be_written_starts_nothing(program, demo: Model, tmp_path: Path) -> None:
    (tmp_path / "coordinators").touch()
    new = program()
    with pytest.raises(SynapticError, match="cannot write .*coordinators"):
        await new.coordinators.ensure(plan(demo))
    assert new.coordinators.up() == []
    (tmp_path / "coordinators").unlink()


async def test_five_failed_starts_are_enough_until_the_user_acts(program, demo: Model, free_port: int) -> None:
    absent = Plan(demo, (Endpoint("127.0.0.1", free_port),), 512)
    new = program(failed=FailedStarts(spread=lambda: 0.0))
    for expected in (*["ended before it was ready"] * 5, "demo failed to start 5 times in 5 minutes: .* does not answer"):
        with pytest.raises(EngineError, match=expected):
            await new.coordinators.ensure(absent)
    new.coordinators.try_again("demo")
    with pytest.raises(EngineError, match="ended before it was ready"):
        await new.coordinators.ensure(absent)


async def test_finding_and_forgetting_leaves_nothing_open(program, ledger, demo: Model) -> None:
    await left(program, ledger, plan(demo))
    await program(stays=False).coordinators.ensure(plan(demo))
    before = psutil.Process().num_fds()
    for _ in range(20):
        new = program(stays=False)
        await new.coordinators.ensure(plan(demo))
        new.coordinators.let_go()
    assert psutil.Process().num_fds() == before


async def test_starting_and_stopping_leaves_nothing_open(program, ledger, demo: Model, tmp_path: Path) -> None:
    new = program()
    counts, files = set(), set()
    for _ in range(5):
        await new.coordinators.ensure(plan(demo))
        await new.coordinators.stop()
        counts.add(psutil.Process().num_fds())
        files.add(tuple(sorted(path.name for path in (tmp_path / "coordinators").iterdir())))
    assert len(counts) == len(files) == 1
    assert not [each for each in psutil.Process().children() if each.status() == psutil.STATUS_ZOMBIE]


async def test_who_answers_for_another_program_is_busy_here_too(program, ledger, demo: Model) -> None:
    old, new = await left(program, ledger, plan(demo)), program()
    found = await new.coordinators.ensure(plan(demo))
    for count, is_busy in ((1, True), (2, True), (1, True), (0, False)):
        old.generating = count
        assert old.is_busy is is_busy
        while found.is_busy is not is_busy:  # others see it a little later
            await asyncio.sleep(0.005)
    old.generating = 1
    while not found.is_busy:
        await asyncio.sleep(0.005)
    with pytest.raises(EngineError, match="demo is answering on these workers"):
        await new.coordinators.ensure(dataclasses.replace(plan(demo), context=256))
    old.generating = 0
