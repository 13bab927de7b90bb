"""
A cluster of two machines, booted for this test with a real systemd each, and what deploy render makes for it.

Ansible installs it where ANSIBLE names the folder of its programs or ansible-playbook is on the PATH; else it is copied by
hand. A real Consul on each (CONSUL_BINARY names it) hears of its services from the agent of the node.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from booted import Machine, booted, cable, ssh, until, why_not
from conftest import DEMO
from faq import entries
from program import Done, run_main

PROFILE = """\
schema: 1
name: pair
version: "0.1"
status: active
control: {host: alpha, user: root}
networks:
  lan: {kind: ethernet, cidr: 10.77.0.0/24, gbps: null, rtt_us: null}
node_classes:
  booted:
    arch: ARCH
    cpu: {model: null, cores: null, mem_gib: null, mem_bw_gbs: null}
    os: {distro: null, systemd: SYSTEMD, cgroup: null}
nodes:
  alpha: {class: booted, addr: {lan: 10.77.0.1}}
  beta: {class: booted, addr: {lan: 10.77.0.2}}
roles: {llama_head: alpha, llama_rpc: [alpha, beta], monitoring: [alpha, beta]}
services:
  network: lan
  llama_rpc: {port: 50052, program: /opt/worker/WORKER, threads: 1}
  llama_head: {port: 8080, program: /opt/head/HEAD, model: /srv/models/MODEL, context: 512}
  monitoring: {consul: IS_THERE}
"""
CONSUL = """\
[Service]
Type=exec
ExecStart=/opt/consul/PROGRAM agent -dev -bind 127.0.0.1 -config-dir /etc/consul.d
ExecReload=/bin/kill -HUP $MAINPID
"""
ANSIBLE = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1", "ANSIBLE_SSH_TRANSFER_METHOD": "piped", "LC_ALL": "C.UTF-8"}
HEAD, WORKER, AGENT = "llama-head.service", "llama-rpc.service", "llama-node-agent.service"
SLACK = 20.0  # seconds that a busy machine may take to start a process


@dataclasses.dataclass(frozen=True)
class Cluster:
    """`variables`: with which ssh reaches its machines; `player`: of Ansible, where that is."""

    alpha: Machine
    beta: Machine
    folder: Path
    player: str | None
    has_consul: bool
    variables: dict[str, str]

    def main(self, *words: str, within: tuple[str, ...] = ()) -> Done:
        return run_main(*words, cwd=self.folder, within=within, timeout=300, **self.variables)

    def ask(self, question: str) -> str:
        """From the other machine, over the cable."""
        document = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 120}
        url = "http://10.77.0.1:8080/v1/chat/completions"
        said = self.beta.run("curl", "-sS", "-m", "60", url, "-H", "Content-Type: application/json", "-d", json.dumps(document), within=90)
        return str(json.loads(said)["choices"][0]["message"]["content"])


@pytest.fixture
def cluster(tmp_path: Path, own_home: Path, llama_server: Path, ggml_rpc_server: Path) -> Iterator[Cluster]:
    (tmp_path / "trial").mkdir()
    if (reason := why_not(tmp_path / "trial")) is not None:
        pytest.skip(f"no machines can be booted here: {reason}")
    consul = os.environ.get("CONSUL_BINARY")
    binds = {"/opt/head": llama_server.parent, "/opt/worker": ggml_rpc_server.parent, "/srv/models": DEMO.parent}
    binds |= {"/opt/consul": Path(consul).parent} if consul else {}
    tools = os.pathsep.join([str(tmp_path), os.environ.get("ANSIBLE", ""), os.environ["PATH"]])
    variables = {"PATH": tools, "SYNAPTIC_TEST_NAMESPACE": "1", **ANSIBLE}
    profile = own_home / "data/hardware/pair/v0.1.yaml"
    profile.parent.mkdir(parents=True)
    profile.write_text(_profile(llama_server.name, ggml_rpc_server.name, bool(consul)))
    with booted(tmp_path, ["alpha", "beta"], binds) as (alpha, beta):
        cable((alpha, "10.77.0.1/24"), (beta, "10.77.0.2/24"))
        ssh(tmp_path, {"10.77.0.1": alpha, "10.77.0.2": beta})
        for machine in (alpha, beta) if consul else ():
            _run_consul(machine, Path(consul).name)
        yield Cluster(alpha, beta, tmp_path, shutil.which("ansible-playbook", path=tools), bool(consul), variables)


@pytest.mark.timeout(900)
def test_a_deployed_pair_answers_and_mends_itself(cluster: Cluster) -> None:
    installed(cluster)
    answers_over_both(cluster)
    killed_worker_comes_back(cluster)
    frozen_head_is_replaced(cluster)
    status_says_what_systemd_says(cluster)
    live_check_finds_nothing(cluster)
    consul_knows(cluster)
    healthy_services_are_quiet(cluster)
    silent_worker_is_noticed_and_holds_nobody_up(cluster)
    agent_says_what_fails(cluster)
    stopped_head_has_not_failed(cluster)


def installed(cluster: Cluster) -> None:
    target = "ansible" if cluster.player else "systemd"
    done = cluster.main("deploy", "render", "pair", "--target", target, "--out", "out")
    assert done.code == 0, done.err
    if cluster.player:
        assert played(cluster)[0] > 0
    else:
        for machine in (cluster.beta, cluster.alpha):
            copied(cluster.folder / "out" / machine.name, machine, cluster.has_consul)
    for machine, unit in ((cluster.beta, WORKER), (cluster.alpha, WORKER), (cluster.alpha, HEAD)):
        until(lambda: machine.show(unit, "ActiveState")["ActiveState"] == "active", f"{unit} on {machine.name}", 120)  # noqa: B023
        assert machine.show(unit, "NRestarts") == {"NRestarts": "0"}, machine.journal("-u", unit)
        assert not re.search(rf"/{unit}:\d+: .*", machine.journal("_PID=1")), "a key that this systemd does not take"
        assert machine.journal("-u", unit, "_PID=1").count(f"Started {unit}") == 1, "a head that is started twice reads its model twice"
        machine.run("systemd-analyze", "security", "--no-pager", "--threshold=20", unit)  # fails above 2.0


def copied(rendered: Path, machine: Machine, has_consul: bool) -> None:
    """As deploy render says: by hand."""
    shutil.copytree(rendered / "etc", machine.etc, dirs_exist_ok=True)
    shutil.copytree(rendered / "usr/local/bin", machine.folder / "bin", dirs_exist_ok=True)
    machine.run("useradd", "-r", "llama")
    machine.run("systemctl", "daemon-reload")
    units = sorted(path.name for path in (rendered / "etc/systemd/system").glob("llama-[hr]*.service"))
    machine.run("systemctl", "enable", "--now", *units, *(["llama-node-agent.timer"] if has_consul else []), within=120)


def played(cluster: Cluster, *words: str) -> tuple[int, int]:
    """How many things it changed, and at how many machines."""
    out = cluster.folder / "out"
    command = [str(cluster.player), "-i", str(out / "inventory.yml"), *words, str(out / "site.yml")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | cluster.variables
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300, cwd=cluster.folder)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return _recap(done.stdout)


def answers_over_both(cluster: Cluster) -> None:
    for question, answer in [(each.questions[0], each.answer) for each in entries()[:2]]:
        assert cluster.ask(question).strip() == answer
    for machine in (cluster.alpha, cluster.beta):
        peers = machine.run("ss", "-Htn", "state", "established", "sport = :50052").splitlines()
        assert any(line.split()[-1].startswith("10.77.0.1:") for line in peers), "the head does not use this worker"


def killed_worker_comes_back(cluster: Cluster) -> None:
    worker, head = cluster.beta, cluster.alpha
    was = {unit: machine.show(unit, "MainPID", "NRestarts") for machine, unit in ((worker, WORKER), (head, HEAD))}
    worker.run("kill", "-KILL", was[WORKER]["MainPID"])
    until(lambda: _is_another(worker, WORKER, was[WORKER]), "the worker is back", 60)
    now = worker.show(WORKER, "NRestarts", "RestartUSec", "ActiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    assert now["NRestarts"] == "1"
    away = (int(now["ActiveEnterTimestampMonotonic"]) - int(now["ActiveExitTimestampMonotonic"])) / 1e6
    pause = float(now["RestartUSec"].removesuffix("s"))
    assert pause <= away < pause + SLACK
    until(lambda: _is_another(head, HEAD, was[HEAD]), f"a head over the new worker: {head.journal('-u', HEAD)}", 120)
    answers_over_both(cluster)


def frozen_head_is_replaced(cluster: Cluster) -> None:
    was = cluster.alpha.show(HEAD, "MainPID", "NRestarts")
    server = cluster.alpha.run("pgrep", "-P", was["MainPID"]).split()
    cluster.alpha.run("kill", "-STOP", *server)
    assert "llama-head\tfrozen\t" in cluster.alpha.run("llama-service-status", may_fail=True)
    second_apply_changes_nothing(cluster)  # meanwhile: the watchdog is patient
    until(lambda: _is_another(cluster.alpha, HEAD, was), "a head that is not frozen", 150)
    assert "Watchdog timeout" in cluster.alpha.journal("-u", HEAD, "_PID=1")
    answers_over_both(cluster)


def second_apply_changes_nothing(cluster: Cluster) -> None:
    if not cluster.player:
        return
    done = cluster.main("--yes", "deploy", "apply", "out")
    assert done.code == 0, done.out + done.err
    assert _recap(done.out) == (0, 2)


def status_says_what_systemd_says(cluster: Cluster) -> None:
    said = cluster.main("--json", "deploy", "status", "pair").json
    states = {(each["node"], each["service"]): each for each in said["services"]}
    for machine, service in ((cluster.alpha, "llama-head"), (cluster.alpha, "llama-rpc"), (cluster.beta, "llama-rpc")):
        told = states[machine.name, service]
        assert (told["state"], told["port"]) == ("active", "listening")
        assert told["restarts"] == machine.show(f"{service}.service", "NRestarts")["NRestarts"]
        assert (told["repair"] == "-") == (told["restarts"] == "0")
    assert 5.0 <= float(states["beta", "llama-rpc"]["repair"]) < 5.0 + SLACK
    assert float(states["alpha", "llama-head"]["repair"]) >= 10.0


def live_check_finds_nothing(cluster: Cluster) -> None:
    checked = cluster.main("deploy", "check", "out", "--live", within=cluster.alpha.network)
    assert checked.code == 0, checked.out + checked.err


def consul_knows(cluster: Cluster) -> None:
    if not cluster.has_consul:
        return
    # the catalogue takes what a check says minutes later, and its state at once
    until(lambda: "active,port=listening,restarts=1," in _told(cluster, "agent/checks"), "the agent of the node tells Consul", 60)
    (only,) = json.loads(_told(cluster, "health/service/llama-rpc?passing=1"))
    assert (only["Service"]["Address"], only["Service"]["Port"], only["Service"]["Meta"]["cluster"]) == ("10.77.0.2", 50052, "pair")


def healthy_services_are_quiet(cluster: Cluster) -> None:
    """By now the agents have beaten a dozen times, and as many tokens proved that the head lives."""
    for machine in (cluster.alpha, cluster.beta):
        assert machine.journal("-u", AGENT) == ""
    said = cluster.alpha.journal("-u", HEAD, "_COMM=llama-server")
    assert not re.search(r" I (slot|srv) ", said), said
    assert "RPC" in said, "a head that loses its worker says why it ends"


def silent_worker_is_noticed_and_holds_nobody_up(cluster: Cluster) -> None:
    """Frozen, as one whose machine is gone: the head waits for its answer for ever, and heeds no signal meanwhile."""
    worker = cluster.beta.show(WORKER, "MainPID")["MainPID"]
    cluster.beta.run("kill", "-STOP", worker)
    if cluster.has_consul:  # it sees processes of users that systemd made for this alone
        until(lambda: "frozen,port=listening" in _told(cluster, "agent/checks"), "Consul hears that the worker is frozen", 60)
        assert json.loads(_told(cluster, "health/service/llama-rpc?passing=1")) == []
    cluster.alpha.run("systemctl", "stop", HEAD)
    stopped = cluster.alpha.show(HEAD, "ActiveExitTimestampMonotonic", "InactiveEnterTimestampMonotonic")
    took = (int(stopped["InactiveEnterTimestampMonotonic"]) - int(stopped["ActiveExitTimestampMonotonic"])) / 1e6
    assert took < 25
    cluster.beta.run("kill", "-CONT", worker)
    cluster.alpha.run("systemctl", "start", HEAD, within=120)


def agent_says_what_fails(cluster: Cluster) -> None:
    if cluster.has_consul:
        cluster.beta.run("systemctl", "stop", "consul")
        until(lambda: "does not take llama-rpc" in cluster.beta.journal("-u", AGENT), "the agent says that Consul is gone", 60)


def stopped_head_has_not_failed(cluster: Cluster) -> None:
    cluster.alpha.run("systemctl", "stop", HEAD)
    assert cluster.alpha.show(HEAD, "ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}


def _is_another(machine: Machine, unit: str, was: dict[str, str]) -> bool:
    now = machine.show(unit, "ActiveState", "MainPID", "NRestarts")
    return now["ActiveState"] == "active" and now["MainPID"] != was["MainPID"] and int(now["NRestarts"]) > int(was["NRestarts"])


def _recap(said: str) -> tuple[int, int]:
    counts = re.findall(r"^(?:alpha|beta)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=0", said, re.MULTILINE)
    return sum(map(int, counts)), len(counts)


def _told(cluster: Cluster, path: str) -> str:
    return cluster.beta.run("curl", "-sS", f"http://127.0.0.1:8500/v1/{path}")


def _profile(head: str, worker: str, has_consul: bool) -> str:
    said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True).stdout
    values = {"ARCH": platform.machine(), "SYSTEMD": said.split()[1], "HEAD": head, "WORKER": worker, "MODEL": DEMO.name}
    values["IS_THERE"] = str(has_consul).lower()
    return re.sub("|".join(values), lambda found: values[found[0]], PROFILE)


def _run_consul(machine: Machine, program: str) -> None:
    (machine.etc / "consul.d").mkdir(mode=0o755)
    (machine.etc / "systemd/system/consul.service").write_text(CONSUL.replace("PROGRAM", program))
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "consul")
