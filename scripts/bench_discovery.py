#!/usr/bin/env python3
"""
Discovery against a plain connect scan with 50 threads, and against nmap -sT where it is installed, on this machine
alone (127.0.0.0/8). One run, ratios.

    python scripts/bench_discovery.py

Ours asks every open port what it is; the others only connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from synaptic.cluster.backend import Kind  # noqa: E402
from synaptic.cluster.pool import Pool, Version  # noqa: E402
from synaptic.discovery.discover import Discovery  # noqa: E402
from synaptic.discovery.identify import Identifier  # noqa: E402
from synaptic.discovery.report import Report  # noqa: E402
from synaptic.discovery.targets import Subnets, Targets, named_networks, numbers  # noqa: E402
from synaptic.events import Bus  # noqa: E402

HOSTILE = (
    "good*20 many*5 slow-good*5 legacy*3 too-new*3 silent*10 too-slow*5 http*10 http-line*5 garbage*5 ansi*5 rst-in-reply*3 half-close*3 "
    "close*3 dribble*5 length-29*2 length-0*2 swapped*3 many-devices*2 free-over-total*3 huge-memory*2 busy*2 blackhole*5"
)
WORKERS = ("good", "many", "slow-good", "legacy", "too-new")
RUNS = [  # (what, network, its servers, seconds allowed)
    ("hostile /24", "127.0.7.0/24", HOSTILE, 1.0),
    ("/24, 5 black holes", "127.0.8.0/24", "good*2 blackhole*5", 0.7),
    ("silent /24", "127.0.10.0/24", "good*2 blackhole*252", 0.7),
    ("silent /22", "127.0.12.0/22", "good*2 blackhole*1020", 3.0),
    ("refusing /16", "127.9.0.0/16", "good*2", 8.0),
]

Scan = Callable[[Targets, int], int]


def main() -> None:
    print(f"{'':20}{'ours':>8}{'allowed':>9}{'plain':>9}{'ratio':>7}{'nmap':>9}{'ratio':>7}  found   harmed")
    most = 0
    for what, network, kinds, allowed in RUNS:
        targets = named_networks(Subnets.parse(network), [])
        with population(targets, kinds) as (port, there, process):
            report, ours, memory = apart(look, targets, port)
            told, _ = process.communicate("end\n", timeout=60)
        with population(targets, kinds) as (port, _, _):
            _, plain, _ = apart(connect_scan, targets, port)
        with population(targets, kinds) as (port, _, _):
            nmap = nmap_seconds(network, port)
        harmed, expected = told.count("closed before reply"), sum(kind in WORKERS for kind in there)
        verdict = "" if ours <= allowed and report == expected and not harmed else "  missed"
        times = f"{ours:7.2f}s{allowed:8.1f}s{plain:8.2f}s{plain / ours:6.1f}x{nmap:8.2f}s{nmap / ours:6.1f}x"
        print(f"{what:20}{times}  {f'{report} of {expected}':9}{harmed:3}{verdict}")
        most = max(most, memory)
    print(f"\nmemory: at most {most >> 10} MiB")


def apart(scan: Scan, targets: Targets, port: int) -> tuple[int, float, int]:
    """What it found, its seconds and its memory in KiB, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measured, scan, targets, port).result()


def measured(scan: Scan, targets: Targets, port: int) -> tuple[int, float, int]:
    began = time.perf_counter()
    found = scan(targets, port)
    return found, time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def look(targets: Targets, port: int) -> int:
    async def run() -> Report:
        pool = Pool(Bus(), speaks=Version(7, 0, 0))
        return await Discovery(targets, {port: Kind.RPC}, Identifier(pool).identify).run()

    return len(asyncio.run(run()).found)


def connect_scan(targets: Targets, port: int) -> int:
    with ThreadPoolExecutor(50) as threads:
        return sum(threads.map(lambda number: is_open(str(IPv4Address(number)), port), numbers(targets.areas)))


def nmap_seconds(network: str, port: int) -> float:
    """How long nmap takes to find the open ports; not a number where there is no nmap, or it takes two minutes."""
    command = ["nmap", "-sT", "-Pn", "-n", "-T4", "--open", "-p", str(port), network]
    began = time.perf_counter()
    try:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120, check=True)
    except (OSError, subprocess.SubprocessError):
        return float("nan")
    return time.perf_counter() - began


def is_open(host: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((host, port), timeout=0.5).close()
        return True
    return False


@contextlib.contextmanager
def population(targets: Targets, kinds: str) -> Iterator[tuple[int, list[str], subprocess.Popen[str]]]:
    first = str(IPv4Address(next(numbers(targets.areas))))
    command = [sys.executable, str(ROOT / "tests" / "fakes" / "population.py"), "--first", first, *kinds.split()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout
            port = int(process.stdout.readline().split()[1])
            there = [line.split()[2] for line in iter(process.stdout.readline, "ready\n")]
            yield port, there, process
        finally:
            process.kill()


if __name__ == "__main__":
    main()
