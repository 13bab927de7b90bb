"""A session with a gateway, for tests: real sockets, in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import aiohttp
import ollama
from conftest import DEMO, end
from ollamas import Fake

from synaptic.endpoint import Endpoint
from synaptic.environment import Environment
from synaptic.session import Session
from synaptic.settings import Settings
from synaptic.web.gateway.app import Gateway
from synaptic.web.gateway.loading import PATIENCE
from synaptic.web.gateway.turns import Turns
from synaptic.web.listen import listen


@dataclasses.dataclass(frozen=True)
class Served:
    url: str
    session: Session
    gateway: Gateway
    node: Fake | None = None  # behind it

    async def get(self, path: str) -> tuple[int, object]:
        async with aiohttp.ClientSession() as http, http.get(self.url + path) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, **body: object) -> tuple[int, object]:
        async with aiohttp.ClientSession() as http, http.post(self.url + path, json=body) as answer:
            return answer.status, await answer.json()

    async def lines(self, path: str, **body: object) -> list[str]:
        """The lines of a stream that are not empty."""
        async with aiohttp.ClientSession() as http, http.post(self.url + path, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return [line.decode().strip() async for line in answer.content if line.strip()]

    async def events(self, path: str, **body: object) -> list[dict]:
        """The events of a stream that is whole, without its end."""
        *events, end = [line.removeprefix("data: ") for line in await self.lines(path, stream=True, **body)]
        assert end == "[DONE]"
        return [json.loads(event) for event in events]


@contextlib.asynccontextmanager
async def ollama_client(url: str, **more: object) -> AsyncIterator[ollama.AsyncClient]:
    """The official one."""
    client = ollama.AsyncClient(url, **more)
    try:
        yield client
    finally:
        await client.close()


def session_at(home: Path, nodes: Sequence[str] = (), **variables: str) -> Session:
    settings = home / "settings.json"
    settings.write_text(json.dumps({"nodes": [{"url": url} for url in nodes], "stall_seconds": 20.0}))
    rpc = variables.get("LLAMA_SERVER", "")  # it counts as installed where both programs are
    given = {"GGML_RPC_SERVER": os.environ.get("GGML_RPC_SERVER", rpc)} if rpc else {}
    given |= {"SYNAPTICLLAMAS_HOME": str(home), "PATH": os.environ["PATH"], "OLLAMA_HOST": "127.0.0.1:1"} | variables
    return Session(Environment(given, sys.stdin, sys.stdout, sys.stderr), Settings.load(settings, given))


@contextlib.asynccontextmanager
async def serving(
    home: Path,
    *,
    nodes: Sequence[str] = (),
    workers: Sequence[Endpoint] = (),
    patience: float = PATIENCE,
    turns: Turns | None = None,
    **variables: str,
) -> AsyncIterator[Served]:
    session = session_at(home, nodes, **variables)
    session.is_shell = True
    if workers:
        await session.add_backends(workers)
        await session.save(distributed_inference_enabled=True)
    gateway = Gateway(session, patience=patience, turns=turns)
    listening = await listen(gateway.application(), "127.0.0.1", 0)
    try:
        yield Served(listening.url, session, gateway)
    finally:
        await gateway.close()
        await listening.close()
        await session.close()


@contextlib.contextmanager
def making_vectors(llama_server: Path, how: Sequence[str] = ("--embeddings", "--pooling", "mean")) -> Iterator[str]:
    """A real llama-server that makes embeddings with the demo, as `vectors`; its URL."""
    words = [str(llama_server), "-m", str(DEMO), "--alias", "vectors", "--host", "127.0.0.1", "--port", "0", "--no-ui", *how]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ, text=True)
    try:
        yield next(line.split()[-1] for line in process.stdout if "listening on http" in line)
    finally:
        end(process)
        process.stdout.close()
