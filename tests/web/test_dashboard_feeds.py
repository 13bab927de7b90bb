"""What the websockets say, to one viewer and to many, early and late."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import aiohttp
import pytest
from conftest import REPOSITORY
from prometheus_client.parser import text_string_to_metric_families

from synaptic.web import kernel_tcp

pytestmark = pytest.mark.anyio


def client(here) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers={"Authorization": f"Bearer {here.token}"})


async def until(socket: aiohttp.ClientWebSocketResponse, wanted: str) -> list[str]:
    """Every message up to the first that holds `wanted`."""
    said: list[str] = []
    while not said or wanted not in said[-1]:
        said.append(await socket.receive_str(timeout=40))
    return said


async def test_a_snapshot_comes_at_once_and_again_when_something_changes(served):
    here = served()
    async with client(here) as http, http.ws_connect(f"{here.url}/ws/dashboard") as live:
        first = await live.receive_json()
        assert first["machines"][0]["kind"] == "coordinator"
        assert first["machines"][0]["total"] > 0
        assert isinstance(first["history"], list)
        async with http.post(f"{here.url}/api/run", json={"line": "rpc add 127.0.9.1:1 --timeout 0.2"}) as answer:
            assert answer.status == 200
        changed = json.loads((await until(live, "127.0.9.1:1"))[-1])
        assert changed["summary"]["workers"]["known"] == 1
        while not changed["sample"]:  # the first one covers two seconds
            changed = await live.receive_json(timeout=40)
        assert changed["sample"]["at"] <= changed["at"]
        assert (await (await http.get(f"{here.url}/api/dashboard")).json())["machines"][1]["endpoint"] == "127.0.9.1:1"


async def test_every_viewer_of_the_log_sees_every_line_and_latecomers_too(served):
    here = served()
    async with client(here) as http:
        async with http.ws_connect(f"{here.url}/ws/logs") as one, http.ws_connect(f"{here.url}/ws/logs") as other:
            for number in range(5):
                await http.post(f"{here.url}/api/run", json={"line": f"config set seed {number}"})
            both = [await until_count(each, "setting seed changed", 5) for each in (one, other)]
            assert both[0] == both[1]
        async with http.ws_connect(f"{here.url}/ws/logs") as late:
            assert await until_count(late, "setting seed changed", 5) == both[0]


async def until_count(socket: aiohttp.ClientWebSocketResponse, wanted: str, count: int) -> list[str]:
    return [(await until(socket, wanted))[-1] for _ in range(count)]


async def test_connected_means_that_a_handshake_succeeded(served, rpc_worker):
    here, worker = served(), rpc_worker()
    async with client(here) as http, http.ws_connect(f"{here.url}/ws/llama_cpp_logs") as live:
        greeting = await live.receive_json()
        assert (greeting["component"], greeting["type"], greeting["message"]) == ("system", "info", "Connected to llama.cpp monitoring")
        assert set(greeting) == {"timestamp", "component", "type", "message", "level", "details"}
        await http.post(f"{here.url}/api/run", json={"line": f"rpc add 127.0.9.1:1 {worker.endpoint} --timeout 1"})
        connected = json.loads((await until(live, "connect"))[-1])
        assert connected["message"] == f"RPC backend connected: {worker.endpoint}"  # and nothing of the dead address
        worker.process.kill()
        await http.post(f"{here.url}/api/run", json={"line": "rpc check --timeout 1"})
        lost = json.loads((await until(live, "disconnect"))[-1])
        assert (lost["component"], lost["level"], lost["details"]["endpoint"]) == ("rpc_backend", "warning", str(worker.endpoint))


async def test_what_nodes_do_is_told(served, ollamafake):
    here, node = served(), ollamafake()
    async with client(here) as http, http.ws_connect(f"{here.url}/ws/ollama_logs") as live:
        await http.post(f"{here.url}/api/run", json={"line": f"nodes add {node.url}"})
        told = json.loads((await until(live, '"type": "state"'))[-1])
        assert told["component"] == "ollama_node"
        assert told["details"]["node"] == node.url


async def test_prometheus_can_read_the_numbers(served):
    here = served()
    families = {family.name: family for family in text_string_to_metric_families(here.get("/metrics").text)}
    assert families["synaptic_answers_running"].samples[0].value == 0
    assert {"synaptic_answers", "synaptic_tokens", "synaptic_failovers", "synaptic_ttft_seconds", "synaptic_backends"} <= set(families)


async def test_a_page_without_a_websocket_is_told_so(served):
    here = served()
    answer = here.get("/ws/logs", Authorization=f"Bearer {here.token}")
    assert answer.status_code == 426


@pytest.fixture
def own_worker(served) -> Iterator:
    """A dashboard, and a worker of our own that it knows."""
    here = served()
    assert here.run("worker start --engine builtin").status_code == 200
    yield here
    here.run("worker stop")  # it would outlive the dashboard


@pytest.mark.skipif(kernel_tcp.connections() is None, reason="this kernel does not tell what has passed on a connection")
async def test_a_root_of_our_own_is_shown_with_its_layers_its_link_and_what_a_token_costs(own_worker):
    here, model = own_worker, REPOSITORY / "config" / "demo" / "demo-q40.m"
    assert here.run(f"dllama root {model} --split layers").status_code == 200
    async with client(here) as http, http.ws_connect(f"{here.url}/ws/dashboard") as live:
        answered = asyncio.create_task(asyncio.to_thread(here.run, f"ask --model {model} --via builtin What is a worker?"))
        shown = json.loads((await until(live, '"links": [{'))[-1])
        (root,) = shown["coordinators"]
        assert (root["engine"], root["cut"], root["state"]) == ("builtin", "layers", "ready")
        assert [share["endpoint"] for share in root["shares"] if share["layers"]] == root["backends"]
        assert (await answered).status_code == 200
    answer = here.get("/api/dashboard").json()["answers"]["recent"][0]
    assert answer["via"] == "builtin"
    assert answer["cost"]["computing_ms"] > 0
