"""A pull by a stand-in that answers as Ollama does, and by the real one as far as that goes without a network."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from synaptic.engines.ollama_pull import Pulling, pull
from synaptic.errors import EngineError

pytestmark = pytest.mark.anyio
FAKE = Path(__file__).parents[1] / "fakes" / "pullfake.py"


class Server:
    def __init__(self, role: str) -> None:
        self.process = subprocess.Popen([sys.executable, str(FAKE), "--as", role], stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{self.line().split()[1]}"

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()


@pytest.fixture
def serve() -> Iterator[Callable[[str], Server]]:
    with contextlib.ExitStack() as stack:

        def start(role: str) -> Server:
            server = Server(role)
            stack.enter_context(server.process)
            stack.callback(server.process.kill)
            return server

        yield start


async def steps(url: str, name: str = "llama3.2") -> list[Pulling]:
    return [step async for step in pull(url, name)]


async def test_every_step_is_told_until_the_model_is_there(serve) -> None:
    server = serve("good")
    told = await steps(server.url)
    assert told[0] == Pulling("pulling manifest")
    assert Pulling("pulling 8eeb52dfb3bb", 500_000, 2_000_000) in told
    assert told[-1] == Pulling("success")
    assert server.line().split(maxsplit=1) == ["/api/pull", '{"model": "llama3.2", "stream": true}\n']


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("unknown", "cannot pull llama3.2: pull model manifest: file does not exist"),
        ("cut", "broke off the pull of llama3.2"),
        ("no-success", "ended the pull of llama3.2 without success"),
        ("garbage", "is it an Ollama server"),
        ("refuse", "answers /api/pull with status 401"),
        ("long", "more than a line of JSON"),
    ],
)
async def test_a_pull_that_fails_says_why(serve, role: str, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        await steps(serve(role).url)


async def test_nobody_there_is_said(free_port: int) -> None:
    with pytest.raises(EngineError, match="nothing answers at"):
        await steps(f"http://127.0.0.1:{free_port}")


async def test_leaving_it_ends_it_there_too(serve) -> None:
    server = serve("hang")
    async with contextlib.aclosing(pull(server.url, "llama3.2")) as told:
        await anext(told)
    assert server.line().startswith("/api/pull")
    assert server.line() == "left\n"


@pytest.fixture
def ollama(tmp_path: Path, free_port: int) -> Iterator[str]:
    """A real server that can reach nothing: its way out is a port where nobody listens."""
    program = os.environ.get("OLLAMA") or shutil.which("ollama")
    if not program:
        pytest.skip("OLLAMA names no program, and there is none on the PATH")
    url = f"http://127.0.0.1:{free_port}"
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1", "OLLAMA_NO_CLOUD": "1"}
    own = {"HOME": str(tmp_path), "OLLAMA_HOST": url, "OLLAMA_MODELS": str(tmp_path / "models"), "PATH": os.environ["PATH"]}
    with (tmp_path / "ollama.log").open("wb") as log:
        server = subprocess.Popen([program, "serve"], stdout=log, stderr=log, env={**nowhere, **own})
    with server:
        try:
            while not _answers(url):
                assert server.poll() is None
                time.sleep(0.05)
            yield url
        finally:
            server.terminate()


def _answers(url: str) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(f"{url}/api/version", timeout=20).status_code == 200
    return False


@pytest.mark.live
async def test_the_real_ollama_says_why_it_cannot(ollama: str) -> None:
    with pytest.raises(EngineError, match="cannot pull no-such-model: .*127.0.0.1:9") as caught:
        await steps(ollama, "no-such-model")
    assert json.dumps(caught.value.as_json())
    with pytest.raises(EngineError, match=r"cannot pull \.\./\.\./x: "):
        await steps(ollama, "../../x")
