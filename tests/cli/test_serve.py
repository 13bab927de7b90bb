"""The gateway of the whole program: in the foreground until Ctrl-C, and behind a shell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ollama
import pytest
import requests
from faq import entries
from shells import MAIN, Shell, end_engines

QUESTION = "What is a worker?"
ANSWER = next(entry.answer for entry in entries() if QUESTION in entry.questions)


@pytest.fixture
def serve(own_home: Path, llama_server: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(MAIN), "serve", "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ,
    )
    yield process
    process.kill()
    process.communicate(timeout=20)
    for _ in end_engines(own_home):
        pass


def url_of(process: subprocess.Popen[str]) -> str:
    document = ""
    for line in process.stdout:
        document += line
        if line.startswith("}") or line.rstrip().endswith("}"):
            break
    return json.loads(document)["url"]


@pytest.mark.live
def test_clients_use_it_until_ctrl_c(serve: subprocess.Popen[str], own_home: Path) -> None:
    url = url_of(serve)
    client = ollama.Client(url)
    assert client.chat("demo", messages=[{"role": "user", "content": QUESTION}]).message.content == ANSWER
    client.close()
    body = {"model": "demo", "messages": [{"role": "user", "content": QUESTION}]}
    answer = requests.post(f"{url}/v1/chat/completions", json=body, timeout=50).json()
    assert answer["choices"][0]["message"]["content"] == ANSWER
    serve.send_signal(signal.SIGINT)
    assert serve.wait(30) == 130
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(own_home) not in listing


def test_another_address_needs_a_key(run) -> None:
    done = run("serve", "--host", "127.0.0.9", "--port", "0", "--key-env", "NO_SUCH_KEY")
    assert done.code == 2
    assert "NO_SUCH_KEY holds no key" in done.err
    done = run("serve", "--host", "0.0.0.0", "--port", "0")
    assert done.code == 2
    assert "--key-env" in done.err


def test_a_shell_serves_in_the_background(own_home: Path) -> None:
    shell = Shell(own_home)
    try:
        shell.types("serve --port 0")
        url = "http://127.0.0.1:" + shell.says("/v1").partition("http://127.0.0.1:")[2].split()[0]
        assert requests.get(f"{url}/api/tags", timeout=20).json()["models"][0]["name"] == "demo"
        shell.types("serve", "status --json", "serve off", "serve off")
        said = shell.says("the gateway is off already")
        assert f"the gateway is on already: {url}" in said
        assert json.loads(said[said.index("{") : said.rindex("}") + 1])["gateway"] == {"url": url}
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=5)
        assert shell.ends() == 0
    finally:
        shell.kill()
