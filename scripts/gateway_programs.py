"""The programs that bench_gateway.py measures: ours with its gateway, workers behind cables, and LiteLLM's proxy."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import requests
from big_model import Sizes, big_model

ROOT = Path(__file__).parents[1]
SIZES = Sizes(width=1024, hidden=12288, heads=8, is_tied=True)
MODEL = "random"
PROXY_KEY = "sk-0123456789abcdef0123456789abcdef"


@dataclasses.dataclass(frozen=True)
class Target:
    url: str
    key: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


class Program:
    """The shell that is measured; it reads its lines from a pipe."""

    def __init__(self, shell: subprocess.Popen[str]) -> None:
        self._shell = shell
        self._process = psutil.Process(shell.pid)
        self.gateway = self.opened("serve --port 0")

    def opened(self, line: str) -> str:
        """The URL that the command tells."""
        assert self._shell.stdin
        assert self._shell.stdout
        print(line, file=self._shell.stdin, flush=True)
        return self._shell.stdout.readline().split()[1]

    @property
    def seconds(self) -> float:
        """Of processor time, without its children."""
        return float(sum(self._process.cpu_times()[:2]))

    @property
    def mebibytes(self) -> int:
        return int(self._process.memory_info().rss) >> 20


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def worker(delay: float) -> Iterator[str]:
    """A real worker, behind a cable where there is a delay; its address."""
    port = free_port()
    words = [os.environ["GGML_RPC_SERVER"], "-H", "127.0.0.1", "-p", str(port), "-t", "1"]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not psutil.Process(process.pid).net_connections("tcp"):
            time.sleep(0.02)
        if not delay:
            yield f"127.0.0.1:{port}"
            return
        cable = [sys.executable, str(ROOT / "tests" / "fakes" / "delayproxy.py"), str(port), "--delay", str(delay)]
        with subprocess.Popen(cable, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as passing:
            assert passing.stdout
            try:
                yield f"127.0.0.1:{passing.stdout.readline().split()[1]}"
            finally:
                passing.terminate()
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def program(home: Path, workers: list[str], asked: argparse.Namespace) -> Iterator[Program]:
    """The whole program, with its gateway."""
    (home / "models").mkdir()
    big_model(home / "models" / f"{MODEL}.gguf", SIZES)
    settings = {"models_dirs": [str(home / "models")], "context": 512, "threads": asked.threads}
    settings |= {"parallel": max(map(int, asked.streams.split(","))), "distributed_inference_enabled": bool(workers)}
    (home / "settings.json").write_text(json.dumps(settings))
    variables = os.environ | {"SYNAPTICLLAMAS_HOME": str(home), "LLAMA_RPC_BACKENDS": ",".join(workers), "OLLAMA_HOST": "127.0.0.1:1"}
    words = [sys.executable, str(ROOT / "main.py"), "--config", str(home / "settings.json")]
    with subprocess.Popen(words, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        yield Program(shell)
        shell.terminate()


@contextlib.contextmanager
def litellm(program: str, direct: Target, home: Path) -> Iterator[str]:
    """LiteLLM's proxy in front of the same server; its URL."""
    port = free_port()
    entry = {"model_name": MODEL, "litellm_params": {"model": f"openai/{MODEL}", "api_base": f"{direct.url}/v1", "api_key": direct.key}}
    (home / "litellm.yaml").write_text(json.dumps({"model_list": [entry]}))  # JSON is YAML
    variables = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "LITELLM_MASTER_KEY": PROXY_KEY}
    words = [program, "--config", str(home / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(words, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"http://127.0.0.1:{port}/health/liveliness", timeout=2).ok:
                    break
            assert process.poll() is None, "litellm ended"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
