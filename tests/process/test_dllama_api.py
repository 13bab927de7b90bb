"""The real dllama-api over real workers: supervised, and kept from ending those that live when one is lost."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from dllamas import DEMO_M, HOST, demo_m, plan
from ports import free_port

from synaptic.cluster.backend import State as Health
from synaptic.cluster.dllama_workers import DllamaWorkers
from synaptic.discovery.dllama_look import look
from synaptic.endpoint import Endpoint
from synaptic.errors import EngineError
from synaptic.events import Bus, ModelPlaced, WorkStarted
from synaptic.process.child import State
from synaptic.process.coordinator_ledger import CoordinatorLedger
from synaptic.process.dllama_apis import reap
from synaptic.process.dllama_command import Start, command_line
from synaptic.process.placement import HERE

pytestmark = [pytest.mark.anyio, pytest.mark.live]


async def ask(url: str, text: str = "What is a worker?") -> bytes:
    """A whole answer. Raises OSError when there is none."""
    body = b'{"messages":[{"role":"user","content":"%s"}],"max_tokens":8}' % text.encode()

    def post() -> bytes:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/chat/completions", body), timeout=50) as response:
            return bytes(response.read())

    return await asyncio.to_thread(post)


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_it_serves_over_its_workers_which_are_held_and_then_free(dllama_apis, dllama_worker, dllama_workers, count):
    workers = [dllama_worker() for _ in range(count)]
    dllama_workers.set_known((worker.endpoint, "configured") for worker in workers)
    apis = dllama_apis()
    coordinator = await apis.ensure(plan(*workers))
    assert b"A worker is a small" in await ask(coordinator.url)
    assert [worker.listens() for worker in workers] == [False] * count
    assert [each.state for each in await dllama_workers.check()] == [Health.IN_USE] * count
    assert [share.endpoint for share in coordinator.shares()] == [HERE, *(str(worker.endpoint) for worker in workers)]
    assert sum(share.model_bytes for share in coordinator.shares()) == pytest.approx(DEMO_M.stat().st_size, rel=0.01)
    assert [type(event) for event in apis._bus.history if isinstance(event, ModelPlaced)] == [ModelPlaced]
    pid = coordinator.child.pid
    assert await apis.stop() == ["demo-q40"]
    assert not psutil.pid_exists(pid)
    for worker in workers:
        worker.wait_until(listens=True)
    assert [each.state for each in await dllama_workers.check()] == [Health.IDLE] * count


async def test_it_listens_where_nobody_else_knocks(dllama_apis):
    coordinator = await dllama_apis().ensure(plan())
    sockets = psutil.Process(coordinator.child.pid).net_connections("tcp")
    assert {each.laddr for each in sockets} == {("127.0.0.1", coordinator.port)}


async def test_however_many_ask_one_starts_and_it_starts_again_after_a_stop(dllama_apis, dllama_worker):
    worker, apis = dllama_worker(), dllama_apis()
    first = await asyncio.gather(*(apis.ensure(plan(worker)) for _ in range(5)))
    assert len(set(map(id, first))) == 1
    await apis.stop()
    again = await apis.ensure(plan(worker))  # without a word to the worker, which needs a moment to listen again
    assert again.state is State.READY


async def test_an_absent_worker_is_named_and_costs_nobody_else_anything(dllama_apis, dllama_worker, dllama_workers):
    first, last, absent = dllama_worker(), dllama_worker(), Endpoint(HOST, free_port(HOST))
    wanted = plan(first, last)
    with pytest.raises(EngineError, match=rf"dllama worker {absent} refuses: busy with a root, or down$"):
        await dllama_apis().ensure(type(wanted)(wanted.model, (first.endpoint, absent, last.endpoint), 512))
    first.wait_until(listens=True)
    last.wait_until(listens=True)
    assert dllama_workers.holder(first.endpoint) is None


async def test_a_lost_worker_is_named_and_the_others_live_on(dllama_apis, dllama_worker):
    workers = [dllama_worker() for _ in range(3)]
    apis = dllama_apis()
    coordinator = await apis.ensure(plan(*workers))
    workers[1].kill()
    with pytest.raises(OSError):
        await ask(coordinator.url)
    assert await coordinator.settled(within=30)
    assert coordinator.state is State.FAILED
    assert coordinator.child.cause == f"worker {workers[1].endpoint} was lost"
    for survivor in (workers[0], workers[2]):
        survivor.wait_until(listens=True)
    restarted = await apis.ensure(plan(workers[2]))
    assert b"A worker is a small" in await ask(restarted.url)


async def test_with_all_workers_there_again_it_may_reconnect(dllama_apis, dllama_worker):
    worker, apis = dllama_worker(), dllama_apis()
    coordinator = await apis.ensure(plan(worker))
    pid = coordinator.child.pid
    worker.kill()
    dllama_worker(at=worker.endpoint.port)
    with pytest.raises(OSError):
        await ask(coordinator.url)
    assert await coordinator.settled(within=30)
    assert (coordinator.state, coordinator.child.pid) == (State.READY, pid)
    assert b"A worker is a small" in await ask(coordinator.url)
    said = [event.what for event in apis._bus.history if isinstance(event, WorkStarted)]
    assert list(dict.fromkeys(said)) == ["demo-q40 loading", "demo-q40: reconnecting to its workers"]


async def test_words_of_a_prompt_in_its_log_are_no_news(dllama_apis, dllama_worker):
    coordinator = await dllama_apis().ensure(plan(dllama_worker()))
    lines = coordinator.child.lines
    await ask(coordinator.url, "Retrying in 3 seconds... Cannot connect to 127.0.0.1:1 (no)")
    while coordinator.child.lines == lines:
        await asyncio.sleep(0.01)
    assert await coordinator.settled(within=0.3) is False
    assert coordinator.state is State.READY


async def test_its_death_frees_its_workers_and_is_noticed(dllama_apis, dllama_worker, dllama_workers):
    worker, apis = dllama_worker(), dllama_apis()
    coordinator = await apis.ensure(plan(worker))
    os.kill(coordinator.child.pid, signal.SIGKILL)
    while coordinator.state is not State.FAILED:
        await asyncio.sleep(0.01)
    assert dllama_workers.holder(worker.endpoint) is None
    assert (await apis.ensure(plan(worker))).state is State.READY


async def test_odd_names_of_files_are_passed_as_they_are(dllama_apis, tmp_path):
    folder = tmp_path / '-h "it\'s"\n--help $HOME'
    folder.mkdir()
    model = Path(shutil.copy(DEMO_M, folder / "-h.m"))
    shutil.copy(DEMO_M.with_name("demo.t"), folder / "--help.t")
    coordinator = await dllama_apis().ensure(plan(model=demo_m(model)))
    assert b"A worker is a small" in await ask(coordinator.url)


async def test_two_programs_do_not_fight_for_a_worker(dllama_apis, dllama_worker):
    worker, mine, another = dllama_worker(), dllama_apis(), dllama_apis(workers=DllamaWorkers(Bus(), look))
    coordinator = await mine.ensure(plan(worker))
    with pytest.raises(EngineError, match="demo-q40 is up already"):
        await another.ensure(plan(worker))
    other = dataclasses.replace(demo_m(), name="other")
    with pytest.raises(EngineError, match=f"{worker.endpoint} is in use by coordinator demo-q40"):
        await another.ensure(plan(worker, model=other))
    assert b"A worker" in await ask(coordinator.url)


async def test_what_a_killed_program_left_behind_is_ended(dllama_apis, dllama_worker, tmp_path):
    worker = dllama_worker()
    script = (
        "import asyncio, dllamas, pathlib, sys\n"
        "make = dllamas.dllama_apis.__wrapped__(dllamas.DllamaWorkers(dllamas.Bus(), dllamas.look), pathlib.Path(sys.argv[1]))\n"
        "async def main():\n"
        "    apis = next(make)()\n"
        "    plan = dllamas.Plan(dllamas.demo_m(), (dllamas.Endpoint.parse(sys.argv[2]),), 512)\n"
        "    print((await apis.ensure(plan)).child.pid, flush=True)\n"
        "    await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    words = [sys.executable, "-c", script, tmp_path, str(worker.endpoint)]
    path = os.pathsep.join([str(DEMO_M.parents[2] / "tests"), os.environ["PYTHONPATH"]])
    owner = await asyncio.to_thread(subprocess.Popen, words, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
    pid = int(await asyncio.to_thread(owner.stdout.readline))
    ledger = CoordinatorLedger(tmp_path / "state")
    reap(ledger)
    assert psutil.pid_exists(pid)  # its program lives
    owner.kill()
    owner.communicate()
    apis = dllama_apis()
    await apis.reap()
    assert ledger.entries() == []
    worker.wait_until(listens=True)
    assert (await apis.ensure(plan(worker))).state is State.READY


async def test_a_port_that_is_taken_while_it_loads_costs_a_second_try(dllama_apis, dllamaapi, tmp_path):
    coordinator = await dllama_apis(dllamaapi("port", 2)).ensure(plan())
    assert (tmp_path / "starts").read_text() == "xxx"
    assert coordinator.state is State.READY


async def test_ports_that_are_always_taken_are_given_up(dllama_apis, dllamaapi, tmp_path):
    with pytest.raises(EngineError, match="its port is taken"):
        await dllama_apis(dllamaapi("port", 99)).ensure(plan())
    assert (tmp_path / "starts").read_text() == "xxxxx"


def test_its_words():
    workers = (Endpoint("10.0.0.1", 9999), Endpoint("attic", 9998))
    start = Start(Path("/bin/dllama-api"), Path("/m/demo.t"), threads=1, temperature=0.0, seed=7)
    line = command_line(start, plan().__class__(demo_m(), workers, 256), 19990)
    assert line[:3] == ("/bin/dllama-api", "--model", str(DEMO_M))
    assert line[-3:] == ("--workers", "10.0.0.1:9999", "attic:9998")
    said = dict(zip(line[1:-3:2], line[2:-3:2], strict=True))
    assert said["--buffer-float-type"] == "q80"
    assert (said["--max-seq-len"], said["--temperature"], said["--seed"], said["--nthreads"]) == ("256", "0", "7", "1")
    assert (said["--host"], said["--port"]) == ("127.0.0.1", "19990")
    assert "--net-turbo" not in said
