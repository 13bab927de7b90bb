"""The sweep: sorts ports correctly, is not noticed, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from synaptic.cluster.dllama import prove
from synaptic.discovery.limits import Limits, neighbours, of_this_machine
from synaptic.discovery.sweep import IS_HALF_OPEN, Probe, Sweep, endpoint_of, in_random_order

QUICK = Limits(timeout=0.3)
REPOSITORY = Path(__file__).parents[2]


def number(address: str) -> int:
    return int(IPv4Address(address))


def swept(probes: list[Probe], limits: Limits = QUICK) -> tuple[Sweep, set[Probe]]:
    opened: set[Probe] = set()
    sweep = Sweep(iter(probes), limits, opened.add)
    sweep.run()
    return sweep, opened


def test_open_refused_and_silent_are_told_apart(populate):
    there = populate("good*3", "silent*2", "blackhole*2")
    sweep, opened = swept([(number(f"127.0.7.{last}"), there.port) for last in range(1, 255)])
    assert {str(IPv4Address(address)) for address, _ in opened} == there.at("good", "silent")
    assert {number(address) for address in there.at("blackhole")}.isdisjoint(sweep.up)
    assert (sweep.done, len(sweep.up), sweep.blocked) == (254, 252, {})


@pytest.mark.skipif(not IS_HALF_OPEN, reason="elsewhere a sweep does connect")
def test_no_server_accepts_anything(populate):
    there = populate("good*5", "silent*5", "busy")
    for _ in range(20):
        _, opened = swept([(number(address), there.port) for address in there.kinds])
        assert len(opened) == 11  # a queue that filled up would close the busy one
    assert there.end() == []


@pytest.mark.skipif(not IS_HALF_OPEN, reason="elsewhere these ports are left alone")
def test_a_dllama_worker_survives_it(launch):
    worker = launch("dllamafake.py")
    for _ in range(20):
        assert swept([(number("127.0.0.1"), worker.port)])[1]
    asyncio.run(prove(endpoint_of((number("127.0.0.1"), worker.port))))
    assert worker.line() == "session 1 complete"


def test_every_address_meets_every_port_in_no_order():
    random.seed(1)
    probes = list(in_random_order(iter(range(100)), [1, 2, 3]))
    assert sorted(probes) == [(address, port) for address in range(100) for port in (1, 2, 3)]
    assert probes != sorted(probes)
    assert list(in_random_order(iter(range(3)), [])) == []


def test_an_address_is_written_as_people_do():
    assert str(endpoint_of((number("127.0.7.255"), 50052))) == "127.0.7.255:50052"


def test_a_stop_leaves_no_socket_open(populate):
    there = populate("blackhole*5")
    before = len(os.listdir("/proc/self/fd"))
    under_way = threading.Event()

    def probes():
        for address in there.kinds:
            yield number(address), there.port
        under_way.set()
        while True:  # a scan without end
            yield number("127.0.7.200"), there.port

    sweep = Sweep(probes(), Limits(at_once=64, timeout=3600), lambda probe: None)
    running = threading.Thread(target=sweep.run)
    running.start()
    assert under_way.wait(30)
    assert len(os.listdir("/proc/self/fd")) >= before + 5
    sweep.stop()
    running.join(30)
    assert not running.is_alive()
    assert len(os.listdir("/proc/self/fd")) == before


def test_nothing_is_sent_while_the_table_of_neighbours_is_full():
    answers = [True, True, False]
    asked: list[int] = []
    launched: list[int] = []

    def is_full() -> bool:
        asked.append(len(launched))
        return answers.pop(0) if answers else False

    def probes():
        launched.append(1)
        yield number("127.0.7.1"), 1

    sweep = Sweep(probes(), Limits(neighbours_full=is_full), lambda probe: None)
    sweep.run()
    assert asked[:3] == [0, 0, 0]
    assert sweep.done == 1


def test_only_a_scan_larger_than_a_22_waits_for_neighbours():
    assert of_this_machine(1022).neighbours_full is None
    if Path("/proc/net/arp").exists():
        assert of_this_machine(65534).neighbours_full is not None
    assert neighbours() >= 0


def test_few_file_descriptors_make_it_slower_not_wrong(populate):
    """Of 24 a fresh Python uses some; the sweep believes that it may have 256."""
    there = populate("good", "blackhole*20")
    code = f"""
import resource
from synaptic.discovery.sweep import *
resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
opened = []
sweep = Sweep(iter([(0x7F000700 + last, {there.port}) for last in range(30, 0, -1)]), Limits(timeout=0.05), opened.append)
sweep.run()
print(sweep.done, *map(endpoint_of, opened))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert (done.stdout, done.stderr) == (f"30 127.0.7.1:{there.port}\n", "")


def test_no_file_descriptor_at_all_is_an_error_with_a_way_out():
    code = """
import resource
from synaptic.discovery.sweep import *
resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))
held = [socket.socket()]
try:
    Sweep(iter([(0x7F000701, 1)]), Limits(), print).run()
except SynapticError as error:
    print(error, "/", error.hint)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert "this machine opens no more sockets: too many open files / try: ulimit -n 1024" in done.stdout
