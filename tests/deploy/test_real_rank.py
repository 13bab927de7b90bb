"""A rank of vLLM below a real systemd, in a machine booted for this test: how it is stopped."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from booted import booted, until, why_not

from synaptic.deploy.files.render import render, write
from synaptic.deploy.profile.document import document_of
from synaptic.deploy.profile.read import profile_of

PROFILE = """\
schema: 1
name: two
version: "0.1"
status: active
networks: {lan: {kind: ethernet, cidr: 10.77.0.0/24}}
node_classes:
  box:
    arch: x86_64
    devices: [{id: g, kind: gpu, vendor: nvidia, model: A, mem_gib: {spec: 64, source: s, at: 2026-11-21}}]
    os: {systemd: SYSTEMD}
nodes: {a: {class: box, addr: {lan: 10.77.0.1}}, b: {class: box, addr: {lan: 10.77.0.2}}}
roles: {vllm_head: a, vllm_worker: [b]}
services: {vllm: {model: /srv/models/m, program: /opt/vllm/vllm, tensor: 1, pipeline: 2}}
"""
# in the place of vLLM: two processes that say who tells them to end, and listen for a while longer
VLLM = """\
#!/usr/bin/python3
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.fork()
print("up", os.getpid(), flush=True)
told = signal.sigwaitinfo([signal.SIGTERM])
while told:
    print("told", os.getpid(), "by", told.si_pid, flush=True)
    told = signal.sigtimedwait([signal.SIGTERM], 1)
sys.exit(143)
"""
UNIT = "vllm-node.service"


@pytest.mark.timeout(300)
def test_each_process_of_a_rank_is_told_to_end_once(tmp_path: Path) -> None:
    (tmp_path / "trial").mkdir()
    if (reason := why_not(tmp_path / "trial")) is not None:
        pytest.skip(f"no machines can be booted here: {reason}")
    program = tmp_path / "opt/vllm"
    program.parent.mkdir()
    program.write_text(VLLM)
    program.chmod(0o755)
    version = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    profile = profile_of(document_of(Path("two.yaml"), PROFILE.replace("SYSTEMD", version)))
    write(render(profile, "systemd"), tmp_path / "out")
    with booted(tmp_path, ["beta"], {"/opt/vllm": program.parent}) as (machine,):
        shutil.copytree(tmp_path / "out/b/etc", machine.etc, dirs_exist_ok=True)
        shutil.copytree(tmp_path / "out/b/usr/local/bin", machine.folder / "bin", dirs_exist_ok=True)
        machine.run("useradd", "-r", "llama")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "start", UNIT)
        until(lambda: machine.journal("-u", UNIT).count(": up ") == 2, "both of its processes", 60)
        script = machine.show(UNIT, "MainPID")["MainPID"]
        machine.run("systemctl", "stop", UNIT)
        told = re.findall(r"told (\d+) by (\d+)", machine.journal("-u", UNIT))
        assert len({process for process, _ in told}) == len(told) == 2, told
        assert {by for _, by in told} == {script}
        assert machine.show(UNIT, "ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}
