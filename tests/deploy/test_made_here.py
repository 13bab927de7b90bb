"""What the playbook compiles or installs on the machine itself: git, make and pip, run by Ansible. ANSIBLE names its folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from synaptic.deploy.files.render import render, write
from synaptic.deploy.profile.document import document_of
from synaptic.deploy.profile.profile import Profile
from synaptic.deploy.profile.read import profile_of
from synaptic.errors import UsageError

pytestmark = pytest.mark.timeout(600)
PROFILE = """\
schema: 1
name: made
version: "0.1"
status: active
networks: {{lan: {{kind: loopback, cidr: 127.0.0.0/8}}}}
node_classes: {{box: {{arch: x86_64}}}}
nodes: {{a: {{class: box, addr: {{lan: 127.0.0.1}}}}, b: {{class: box, addr: {{lan: 127.0.0.2}}}}}}
roles: {roles}
services: {services}
"""
Play = Callable[..., tuple[int, str]]


def profile(roles: object, services: object) -> Profile:
    """JSON is YAML too."""
    return profile_of(document_of(Path("made.yaml"), PROFILE.format(roles=json.dumps(roles), services=json.dumps(services))))


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Runs what one role installs on node a, here; nothing is started: how many tasks changed something, and all that was said."""
    ansible = shutil.which("ansible-playbook", path=os.pathsep.join([os.environ.get("ANSIBLE", ""), os.environ["PATH"]]))
    if not ansible or os.geteuid() != 0:
        pytest.skip("Ansible is not here (ANSIBLE names its folder), or this is not root, who alone may give files to root")

    def run(profile: Profile, role: str, *words: str) -> tuple[int, str]:
        out = tmp_path / "out"
        write(render(profile, "ansible"), out)
        (tmp_path / "one.yml").write_text(f"- hosts: a\n  gather_facts: false\n  roles: [{{role: {out}/roles/{role}}}]\n")
        extra = {"ansible_python_interpreter": "{{ ansible_playbook_python }}", f"{role}_enabled": False, "llama_node_arch": ""}
        command = [ansible, "-i", str(out / "inventory.yml"), "-c", "local", str(tmp_path / "one.yml"), "--tags", "install"]
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        variables |= {"ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}
        said = subprocess.run([*command, "-e", json.dumps(extra), *words], capture_output=True, text=True, env=variables, check=False)
        text = said.stdout + said.stderr
        assert said.returncode == 0, text[-3000:]
        return int(text.rpartition("changed=")[2].split()[0]), text

    return run


def repository(folder: Path) -> str:
    """One whose make builds both programs; its commit."""
    if not all(map(shutil.which, ("git", "make", "cc"))):
        pytest.skip("git, make or a C compiler is not here")
    folder.mkdir()
    (folder / "main.c").write_text("int main(void) { return ANSWER; }\n")
    (folder / "Makefile").write_text("ANSWER = 41\ndllama dllama-api: main.c\n\tcc -DANSWER=$(ANSWER) -o $@ main.c\n")
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_distributed_llama_is_compiled_where_it_runs_and_once(play: Play, tmp_path: Path) -> None:
    commit = repository(tmp_path / "source")
    source = {"repository": f"file://{tmp_path}/source", "version": commit, "dir": f"{tmp_path}/build"}
    program = tmp_path / "bin/dllama"
    program.parent.mkdir()
    worker = {"program": str(program)}
    root = {"program": f"{program}-api", "model": "/m.m", "tokenizer": "/t.t"}
    chosen = profile({"dllama_worker": ["a"], "dllama_root": "b"}, {"dllama_source": source, "dllama_worker": worker, "dllama_root": root})
    play(chosen, "dllama_worker", "--check")
    assert not program.exists()
    changed, _ = play(chosen, "dllama_worker", "-e", json.dumps({"dllama_worker_flags": ["ANSWER=42"]}))
    assert changed == 3  # fetched, compiled, installed
    assert subprocess.run([program], check=False).returncode == 42
    assert play(chosen, "dllama_worker")[0] == 0


def wheel(index: Path) -> None:
    """A package called vllm with one program, and the page of an index that leads to it."""
    (index / "vllm").mkdir(parents=True)
    name = "vllm-0.1-py3-none-any.whl"
    with zipfile.ZipFile(index / "vllm" / name, "w") as file:
        file.writestr("vllm.py", "def main() -> None:\n    print('served')\n")
        file.writestr("vllm-0.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: vllm\nVersion: 0.1\n")
        file.writestr("vllm-0.1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("vllm-0.1.dist-info/entry_points.txt", "[console_scripts]\nvllm = vllm:main\n")
        file.writestr("vllm-0.1.dist-info/RECORD", "")
    (index / "vllm/index.html").write_text(f'<a href="{name}">{name}</a>')


def test_vllm_is_installed_into_an_environment_of_its_own_and_once(play: Play, tmp_path: Path) -> None:
    wheel(tmp_path / "index")
    install = {"packages": ["vllm==0.1"], "indexes": [f"file://{tmp_path}/index"]}
    program = tmp_path / "opt/vllm/bin/vllm"
    chosen = profile({"vllm_head": "a", "vllm_worker": ["b"]}, {"vllm": {"model": "/m", "program": str(program), "install": install}})
    play(chosen, "vllm_node", "--check")
    assert not program.parent.parent.exists()
    assert play(chosen, "vllm_node")[0] == 2  # the environment, and what is in it
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "served\n"
    assert play(chosen, "vllm_node")[0] == 0


def test_a_shipped_profile_says_where_both_come_from() -> None:
    from synaptic.deploy.profile.profiles import Profiles
    from synaptic.shipped import shipped

    profiles = Profiles(shipped("hardware"), None, None)
    arc = render(profiles.profile("arc-a770"), "ansible")["roles/vllm_node/tasks/main.yml"].text
    assert "https://download.pytorch.org/whl/xpu" in arc
    for role in ("dllama_worker", "dllama_root"):
        tasks = render(profiles.profile("goldentooth"), "ansible")[f"roles/{role}/tasks/main.yml"].text
        assert 'version: "8d624a7"' in tasks


@pytest.mark.parametrize("wrong", ["{{ lookup('pipe', 'id') }}", "--target=/", "vllm; id", "-r x"])
def test_a_package_is_a_name_and_a_version(wrong: str) -> None:
    with pytest.raises(UsageError, match="is not allowed here"):
        profile({"vllm_head": "a"}, {"vllm": {"model": "/m", "install": {"packages": [wrong]}}})
