"""Other machines and servers, watched while something is measured."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from synaptic.bench.telemetry.others import Exporter, OverSsh, Server, watch_of_node
from synaptic.bench.telemetry.reading import moment, reading_of, reading_of_exporter
from synaptic.bench.telemetry.scrape import queue_of, samples_of, scrape
from synaptic.bench.telemetry.watch import Watch

pytestmark = pytest.mark.anyio
STAT = "cpu0 {user} 0 100 {idle} 50 0 0 0 0 0\ncpu1 {user} 0 100 {idle} 50 0 0 0 0 0\n"
MEMORY = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\nSwapTotal:       500 kB\nSwapFree:        300 kB\n"
LINKS = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0
  eth0: {down} 1 0 0 0 0 0 0 {up} 1 0 0 0 0 0 0
"""
EXPORTED = """# TYPE node_cpu_seconds_total counter
node_cpu_seconds_total{cpu="0",mode="idle"} {5}
node_cpu_seconds_total{cpu="0",mode="user"} {15}
node_memory_MemTotal_bytes 1000
node_memory_MemAvailable_bytes 250
node_network_receive_bytes_total{device="eth0"} {2000}
node_network_transmit_bytes_total{device="eth0"} {100}
node_network_transmit_bytes_total{device="lo"} {900000}
"""
VLLM = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 7.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
vllm:generation_tokens_total{engine="0",model_name="m"} 90.0
"""


def machine(user: int, idle: int, up: int, down: int, more: str = "") -> str:
    return STAT.format(user=user, idle=idle) + MEMORY + LINKS.format(up=up, down=down) + more


def test_two_readings_make_a_moment() -> None:
    first = reading_of(machine(0, 1000, 10, 20))
    second = reading_of(machine(75, 1025, 1010, 520, "@gpu\n33, 10, 20.5, 60\n0m0.010s 0m0.020s\n0m0.500s 0m0.070s\n"))
    assert first
    assert second
    seen = moment(5.0, first, second)
    assert (seen.cpu, seen.cores) == (75.0, (75.0, 75.0))
    assert (seen.memory, seen.swap) == (600 * 1024, 200 * 1024)
    assert (seen.sent, seen.received) == (1000, 500)
    assert seen.gpus[0].busy == 33.0
    assert second.cost == pytest.approx(0.6)


@pytest.mark.parametrize("text", ["", "cpu0 1 2", STAT.format(user=1, idle=1), MEMORY])
def test_half_a_reading_is_none(text: str) -> None:
    assert reading_of(text) is None


def test_the_exporter_says_the_same_in_its_words() -> None:
    one, two = (reading_of_exporter(samples_of(exported(count))) for count in (1, 2))
    assert one
    assert two
    seen = moment(0.0, one, two)
    assert (seen.cpu, seen.memory, seen.swap, seen.sent, seen.received) == (75.0, 750, 0, 100, 2000)
    assert reading_of_exporter(samples_of("node_load1 1\n")) is None


def exported(count: int) -> str:
    return re.sub(r"\{(\d+)\}", lambda found: str(int(found[1]) * count), EXPORTED)


def test_several_engines_of_vllm_are_added_up() -> None:
    queue = queue_of(samples_of(VLLM))
    assert queue
    assert (queue.running, queue.waiting, queue.kv, queue.written) == (5.0, 7.0, 0.5, 90.0)


@pytest.mark.parametrize("text", ["", "<h1>404</h1>", "go_goroutines 5\n", "vllm:num_requests_running{ 1\n"])
def test_other_text_is_no_queue(text: str) -> None:
    assert queue_of(samples_of(text)) is None


async def seen(watch: Watch, count: int = 2) -> dict[str, Any]:
    async with watch, asyncio.timeout(30):
        while len(watch.as_json()[watch.node]["series"]) < count:
            await asyncio.sleep(0.01)
    return watch.as_json()[watch.node]


async def test_an_exporter_is_asked_again_and_again(figures) -> None:
    url = f"{figures(EXPORTED)}/metrics"
    exporter = Exporter("node1", url, 0.01)
    assert await exporter.answers()
    for each in (await seen(exporter))["series"]:
        assert each["cpu"] == 75.0
        assert (each["memory"], each["received"] / each["sent"]) == (750, 20.0)


async def test_a_servers_queue_is_watched(figures) -> None:
    said = await seen(Server(f"{figures(VLLM)}/v1", None, 0.01))
    assert [(each["running"], each["waiting"], each["kv"]) for each in said["series"][:2]] == [(5.0, 7.0, 0.5)] * 2


@pytest.mark.live
async def test_the_words_of_a_real_llama_server(llama_server: Path, serving) -> None:
    queue = queue_of(await scrape(f"{serving('--metrics')}/metrics"))
    assert queue
    assert (queue.running, queue.waiting, queue.kv) == (0.0, 0.0, None)


@pytest.fixture
def ssh(tmp_path: Path) -> str:
    """It runs what it is told here, in a shell, as a server would there."""
    path = tmp_path / "ssh"
    path.write_text(
        f"#!{sys.executable}\nimport os, sys\nassert sys.argv[1:6] == ['-T', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=5'], sys.argv\n"
        "if sys.argv[7] == 'nobody': sys.exit(255)\nos.execvp('sh', ['sh', '-c', sys.argv[8]])\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_a_machine_is_watched_over_ssh_and_says_what_that_costs_it(ssh: str) -> None:
    watch = OverSsh("node2", "root@node2", ssh, os.environ, 0.01)
    async with watch, asyncio.timeout(30):
        while not (said := watch.as_json()["node2"])["overhead"] or len(said["series"]) < 2:  # its clock ticks 100 times a second
            await asyncio.sleep(0.01)
    for each in said["series"]:
        assert 0 <= each["cpu"] <= 100
        assert each["memory"] > 0
        assert min(each["sent"], each["received"]) >= 0


async def test_a_machine_that_lets_nobody_in_is_told(ssh: str) -> None:
    watch = OverSsh("node3", "nobody", ssh, os.environ, 0.01)
    async with watch, asyncio.timeout(30):
        while not watch.trouble:
            await asyncio.sleep(0.01)
    assert watch.as_json()["node3"]["trouble"] == "ssh nobody ended with 255"


async def test_the_exporter_comes_first_and_ssh_after_it(figures, ssh: str, free_port: int) -> None:
    port = int(figures(EXPORTED).rpartition(":")[2])
    assert isinstance(await watch_of_node("n", "127.0.0.1", "n", ssh, {}, port=port), Exporter)
    assert isinstance(await watch_of_node("n", "127.0.0.1", "n", ssh, {}, port=free_port), OverSsh)
    assert await watch_of_node("n", "127.0.0.1", None, ssh, {}, port=free_port) is None
