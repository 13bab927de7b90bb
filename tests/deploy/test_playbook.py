"""The playbook, run by Ansible itself into a folder that stands for a machine's root. ANSIBLE names the folder of its programs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from synaptic.deploy.files.render import render, write
from synaptic.deploy.profile.document import document_of
from synaptic.deploy.profile.profile import Profile
from synaptic.deploy.profile.profiles import Profiles
from synaptic.deploy.profile.read import profile_of
from synaptic.shipped import shipped

PROFILES = Profiles(shipped("hardware"), None, None)


FULL = """\
services:
  tls: {certificate: /etc/tls/c.pem, key: /etc/tls/k.pem, front: /usr/bin/stunnel, step: {ca_url: 'https://ca', root: /etc/tls/root.pem}}
  models: {dir: /srv/models, kind: nfs, export: 'nas:/models', files: [{name: m, bytes: 1, sha256: 'SUM'}]}
  llama_head: {port: 8080, host: 127.0.0.2, model: /srv/models/m}
  monitoring: {consul: true, zeroconf: true}
""".replace("SUM", "0" * 64)


def full() -> Profile:
    """With all that only some profiles need."""
    plain = shipped("hardware", "lab-local", "v0.1.yaml").read_text()
    return profile_of(document_of(Path("x.yaml"), plain[: plain.index("services:")] + FULL))


def program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("ANSIBLE", ""), os.environ["PATH"]]))
    if not found:
        pytest.skip(f"{name} is not here: pip install ansible-core ansible-lint, and set ANSIBLE to the folder of their programs")
    return found


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., dict[str, tuple[int, int]]]:
    """Runs the playbook of a cluster into tmp_path/root: what it changed and failed, by host."""
    ansible = program("ansible-playbook")
    if os.geteuid() != 0:
        pytest.skip("only root may give files to root")
    root = tmp_path / "root"
    (root / "etc/systemd/system").mkdir(parents=True)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}

    def run(profile: Profile, *words: str) -> dict[str, tuple[int, int]]:
        out = tmp_path / profile.name
        write(render(profile, "ansible"), out)
        image = {"cluster_root": str(root), "cluster_is_live": False, "cluster_become": False}
        # discovery takes whichever python comes first, and that may be a broken one
        extra = ["-e", json.dumps({**image, "ansible_python_interpreter": "{{ ansible_playbook_python }}"})]
        command = [ansible, "-i", str(out / "inventory.yml"), "-c", "local", str(out / "site.yml"), *extra, *words]
        said = subprocess.run(command, capture_output=True, text=True, env=variables, check=False, cwd=tmp_path)
        found = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=(\d+)", said.stdout, re.MULTILINE)
        assert found, said.stdout + said.stderr
        assert said.returncode == 0, said.stdout[-3000:]
        return {host: (int(changed), int(failed)) for host, changed, failed in found}

    return run


@pytest.mark.timeout(900)
def test_a_second_run_changes_nothing_and_a_check_changes_nothing_at_all(play, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (changed, failed) = play(full(), "--check")["local"]
    assert changed > 0
    assert failed == 0
    assert [path for path in root.rglob("*") if path.is_file()] == []
    assert play(full())["local"][0] == changed
    unit = root / "etc/systemd/system/llama-rpc.service"
    assert unit.read_text() == render(full(), "systemd")["local/etc/systemd/system/llama-rpc.service"].text
    assert (root / "etc/systemd/system/srv-models.mount").exists()
    assert (root / "etc/systemd/system/llama-tls-renew.timer").exists()
    assert (root / "etc/llama-cluster/llama-tls.conf").exists()
    assert (root / "etc/llama-cluster/consul/llama-rpc.json").exists()
    assert (root / "etc/systemd/system/llama-node-agent.timer").exists()
    assert (root / "etc/systemd/dnssd/llama-rpc.dnssd").exists()
    assert (root / "usr/local/bin/llama-resolve").stat().st_mode & 0o777 == 0o755
    assert play(full())["local"] == (0, 0)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("cluster", ["arc-a770", "goldentooth", "all that only some profiles need"])
def test_ansible_lint_finds_nothing(cluster: str, tmp_path: Path) -> None:
    lint = program("ansible-lint")
    write(render(full() if " " in cluster else PROFILES.profile(cluster), "ansible"), tmp_path / "out")
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["PATH"] = os.pathsep.join([str(Path(lint).parent), variables["PATH"]])
    said = subprocess.run(
        [lint, "--offline", "--nocolor", "--profile", "production"],
        capture_output=True,
        text=True,
        cwd=tmp_path / "out",
        env=variables,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
