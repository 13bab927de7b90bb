"""The real llama-server as a judge: how it cuts a text into tokens, and which tokens follow."""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from conftest import end
from ports import free_port

HOST = "127.0.0.1"


class LlamaServer:
    def __init__(self, port: int) -> None:
        self.port = port

    def tokens(self, text: str) -> list[int]:
        return self._ask("/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]

    def follows(self, tokens: list[int], count: int) -> list[int]:
        wanted = {"n_predict": count, "temperature": 0, "samplers": ["top_k"], "top_k": 1, "ignore_eos": True, "return_tokens": True}
        return self._ask("/completion", {"prompt": tokens, **wanted})["tokens"]

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{HOST}:{self.port}/health", timeout=20) as answer:
            return answer.status == 200
        return False

    def _ask(self, path: str, document: dict[str, object]) -> dict[str, list[int]]:
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}{path}", json.dumps(document).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=40) as answer:
            return json.loads(answer.read())


@contextlib.contextmanager
def serving(program: Path, model: Path) -> Iterator[LlamaServer]:
    server = LlamaServer(free_port(HOST))
    command = [str(program), "-m", str(model), "--host", HOST, "--port", str(server.port), "-t", "1", "-c", "512", "--no-webui"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not server.is_ready():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
            assert process.poll() is None, process.returncode
        yield server
    finally:
        end(process)
