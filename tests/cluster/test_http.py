"""HTTP servers told apart by what they answer, whatever they answer."""

from __future__ import annotations

import asyncio

import pytest

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.handshake import Foreign
from synaptic.cluster.http import identify

pytestmark = pytest.mark.anyio
LONG = 20.0  # seconds for an answer that must come, on a busy machine


@pytest.mark.parametrize(
    ("role", "kind", "version", "detail"),
    [
        ("ollama", Kind.OLLAMA, "0.13.5", "Ollama 0.13.5 · 4 models (llama3.2:latest, llama3.3:latest, llama3.4:latest, …)"),
        ("llama-server", Kind.OPENAI, None, "llama-server · 1 model (demo-q4_0.gguf)"),
        ("vllm", Kind.OPENAI, "0.32.0", "vLLM 0.32.0 · 1 model (Qwen/Qwen3-8B)"),
        ("liar", Kind.OLLAMA, "^[]52;c;ZXZpbA==^G", "Ollama ^[]52;c;ZXZpbA==^G · 1 model (^[[2J\\u202e)"),
    ],
)
async def test_each_is_recognised(serve, role, kind, version, detail):
    endpoint, _ = serve("httpfake.py", "--as", role)
    answer = await identify(endpoint, within=LONG)
    assert isinstance(answer, Backend)
    assert (answer.kind, answer.state, answer.version, answer.detail) == (kind, State.IDLE, version, detail)
    assert answer.latency_ms


@pytest.mark.parametrize(
    ("role", "reason", "detail"),
    [
        ("plain", "http", "HTTP server (nginx^[[31m)"),
        ("locked", "http", "HTTP server, wants a key"),
        ("loading", "http", "llama-server, loading its model"),
        ("huge", "http", "HTTP server"),
        ("deep", "http", "HTTP server"),
        ("drip", "silent", "did not answer in 0.4 s"),
        ("hang-up", "closed", "closed the connection without an answer"),
        ("ssh", "garbage", "does not speak HTTP"),
    ],
)
async def test_others_are_named(serve, role, reason, detail):
    endpoint, _ = serve("httpfake.py", "--as", role)
    assert await identify(endpoint, within=0.4 if role == "drip" else LONG) == Foreign(endpoint, reason, detail)


async def test_a_redirect_is_not_followed(serve):
    target, process = serve("httpfake.py", "--as", "ollama")
    endpoint, _ = serve("httpfake.py", "--as", "redirect", "--to", f"http://{target}/api/version")
    assert await identify(endpoint, within=LONG) == Foreign(endpoint, "http", "HTTP server")
    process.kill()
    assert process.stdout
    assert process.stdout.read() == ""


@pytest.mark.parametrize(("mode", "reason"), [("ok", "reset"), ("silent", "silent")])
async def test_an_rpc_server_is_not_harmed_by_it(rpcfake, mode, reason):
    fake = rpcfake("--mode", mode)
    answer = await identify(fake.endpoint, within=0.4 if mode == "silent" else LONG)
    assert isinstance(answer, Foreign)
    assert answer.reason == reason
    assert fake.ended() == {"ok": "ended 1 refused", "silent": "ended 1 reset"}[mode]


async def test_where_nothing_listens_it_says_so(closed_port):
    assert await identify(closed_port) == Foreign(closed_port, "closed", "refused the connection: no server listens there")


async def test_dllama_api_is_recognised_and_survives_every_interruption(serve):
    """It ends when a connection is closed before a request came: ours never exists without one."""
    endpoint, process = serve("dllamafake.py", "--api")
    for moments in range(40):
        asking = asyncio.create_task(identify(endpoint))
        for _ in range(moments):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    answer = await identify(endpoint, within=LONG)
    assert isinstance(answer, Backend)
    assert (answer.kind, answer.detail) == (Kind.OPENAI, "dllama-api · 1 model (demo-q40.m)")
    assert process.poll() is None
