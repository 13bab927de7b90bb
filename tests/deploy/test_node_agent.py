"""The agent of a node and a real Consul (CONSUL_BINARY names it), together in a network of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from namespaces import ENTER, in_namespaces

from synaptic.deploy.files.render import render
from synaptic.deploy.profile.profiles import Profiles
from synaptic.shipped import shipped

PROFILES = Profiles(shipped("hardware"), None, None)
SYSTEMCTL = '#!/bin/sh\ncase "$*" in *ActiveState*) cat "${0%/*}/state" ;; *MainPID*) echo 0 ;; *) echo 7 ;; esac\n'
SCENE = """
import json, os, pathlib, socket, subprocess, sys, time, urllib.request

folder, consul, bin = sys.argv[1:]
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
agent = subprocess.Popen([consul, "agent", "-dev", "-bind", "127.0.0.1", "-log-level", "info"], stdout=subprocess.PIPE, text=True)
assert any("Synced node info" in line for line in agent.stdout), "Consul ended"

def ask(path, method="GET"):
    with urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:8500/v1" + path, method=method)) as answer:
        return json.loads(answer.read() or b"null")

def beat():
    return subprocess.run([bin + "/llama-node-agent"], capture_output=True, text=True, cwd=folder)

def status():
    found = ask("/health/service/llama-rpc")
    return [check["Status"] for each in found for check in each["Checks"] if check["CheckID"] == "llama-rpc-alive"]

def told():
    return ask("/health/service/llama-rpc")[0]

said = {"before": status()}
worker = socket.create_server(("127.0.0.1", 50052))
worker.setblocking(False)
said["code"] = beat().returncode
said["listening"], said["service"] = status(), told()["Service"]
said["note"] = next(check["Output"] for check in told()["Checks"] if check["CheckID"] == "llama-rpc-alive")
pathlib.Path(folder, "state").write_text("failed")
beat()
said["failed"] = status()
pathlib.Path(folder, "state").write_text("active")
beat()
said["again"] = status()
ask("/agent/service/deregister/llama-rpc", "PUT")
said["forgotten"] = status()
beat()
said["known again"] = status()
try:
    worker.accept()
    said["connected"] = True
except BlockingIOError:
    said["connected"] = False
worker.close()
beat()
said["closed"] = status()
body = pathlib.Path(folder, "consul/llama-rpc.json")
body.write_text(body.read_text().replace('"30s"', '"4s"'))
ask("/agent/service/deregister/llama-rpc", "PUT")
worker = socket.create_server(("127.0.0.1", 50052))
beat()
said["short"] = status()
while status() == ["passing"]:  # nobody beats any more
    time.sleep(0.05)
said["expired"] = status()
agent.terminate()
agent.stdout.read()
agent.wait()
said["without"] = beat().returncode
print("SAID" + json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    if not (consul := os.environ.get("CONSUL_BINARY")):
        pytest.skip("CONSUL_BINARY names no program: no real Consul to tell")
    if not shutil.which("curl") or not shutil.which("ss"):
        pytest.skip("curl and ss are what the agent works with")
    folder = tmp_path_factory.mktemp("node")
    for path, file in render(PROFILES.profile("lab-local"), "systemd").items():
        if path.startswith("local/etc/llama-cluster/consul/llama-rpc"):
            (folder / "consul").mkdir()
            (folder / "consul/llama-rpc.json").write_text(file.text)
    (folder / "services").write_text("llama-rpc 50052\nllama-tls 50052\n")
    (folder / "state").write_text("active")
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", "#!/bin/sh\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    tools = f"{folder}:{REPOSITORY}/config/deploy/bin:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": tools, "LLAMA_SERVICES": f"{folder}/services", "LLAMA_CONSUL": f"{folder}/consul"}
    words = [*ENTER, sys.executable, "-c", SCENE, str(folder), consul, str(REPOSITORY / "config/deploy/bin")]
    told = subprocess.run(words, capture_output=True, text=True, env=variables, check=False)
    assert "SAID" in told.stdout, told.stdout + told.stderr
    return json.loads(told.stdout.rpartition("SAID")[2])  # type: ignore[no-any-return]


@in_namespaces
def test_a_consul_that_knows_nothing_is_told(said: dict[str, object]) -> None:
    assert (said["before"], said["code"], said["listening"]) == ([], 0, ["passing"])
    service = said["service"]
    assert isinstance(service, dict)
    assert (service["Service"], service["Address"], service["Port"], service["Tags"]) == ("llama-rpc", "127.0.0.1", 50052, ["lab-local"])
    assert service["Meta"] == {"cluster": "lab-local", "profile": "lab-local@0.1", "backend": "CPU", "arch": "x86_64"}
    assert "active,port=listening,restarts=7" in str(said["note"])


@in_namespaces
def test_what_systemd_and_the_kernel_say_is_what_consul_hears(said: dict[str, object]) -> None:
    assert (said["failed"], said["again"], said["closed"]) == (["critical"], ["passing"], ["critical"])


@in_namespaces
def test_a_consul_that_has_forgotten_is_told_again(said: dict[str, object]) -> None:
    assert (said["forgotten"], said["known again"]) == ([], ["passing"])


@in_namespaces
def test_without_a_beat_a_service_is_taken_for_lost(said: dict[str, object]) -> None:
    assert (said["short"], said["expired"]) == (["passing"], ["critical"])


@in_namespaces
def test_the_worker_is_never_connected_to(said: dict[str, object]) -> None:
    assert said["connected"] is False


@in_namespaces
def test_a_consul_that_is_away_is_an_error_of_the_agent(said: dict[str, object]) -> None:
    assert said["without"] == 1
