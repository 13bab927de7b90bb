"""vLLM over the nodes of a profile: its words, what is asked of the machines around it, and the cut that is written into it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from synaptic.deploy.files.render import render, write
from synaptic.deploy.profile.document import document_of
from synaptic.deploy.profile.profile import Profile
from synaptic.deploy.profile.profiles import Profiles
from synaptic.deploy.profile.read import profile_of
from synaptic.deploy.services.services import services_of
from synaptic.deploy.services.vllm import cut_of
from synaptic.errors import UsageError
from synaptic.shipped import shipped

ANALYZE = shutil.which("systemd-analyze")
ARC = Profiles(shipped("hardware"), None, None).profile("arc-a770")
ARCHITECTURE = (
    "{source: config.json, layers: 56, hidden: 6144, heads: 48, kv_heads: 8, head_dim: 128, intermediate: 16384, vocabulary: 32768}"
)
TEXT = """\
schema: 1
name: two
version: "0.1"
status: active
networks: {lan: {kind: ethernet, cidr: 10.0.0.0/24, gbps: LINK, rtt_us: RTT}}
node_classes:
  box:
    arch: x86_64
    devices:
      - {id: gpu0, kind: gpu, vendor: intel, model: A770, mem_gib: {spec: 16, source: s, at: 2026-11-21},
         mem_bw_gbs: {spec: 560, source: s, at: 2026-11-21}}
nodes: {a: {class: box, addr: {lan: 10.0.0.10}}, b: {class: box, addr: {lan: 10.0.0.11}}}
roles: {vllm_head: a, vllm_worker: [b]}
services: {vllm: {model: /srv/models/m, quantization: awq, architecture: ARCHITECTURE}}
"""
SLOW, FAST = (1, 200), (100, 8)  # Gbit/s, µs


def profile(link: tuple[float, float] = SLOW, **changes: object) -> Profile:
    text = TEXT.replace("ARCHITECTURE", ARCHITECTURE)
    for name, value in zip(("LINK", "RTT"), link, strict=True):
        text = text.replace(name, f"{{spec: {value}, source: s, at: 2026-11-21}}")
    document = document_of(Path("two.yaml"), text)
    document.values["services"]["vllm"].update(changes)  # type: ignore[index]
    return profile_of(document)


def unit(files: object, node: str, name: str = "vllm-node") -> str:
    return files[f"{node}/etc/systemd/system/{name}.service"].text  # type: ignore[index]


def command(text: str) -> list[str]:
    [line] = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    return shlex.split(line)


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_the_seeds_model_over_its_two_machines() -> None:
    """Mistral Small in 4 bits, on node0 and node1, whose addresses are looked up when they start."""
    files = render(ARC, "systemd")
    head, rank = command(unit(files, "node0")), command(unit(files, "node1"))
    for words in (head, rank):
        assert words[words.index("/opt/vllm/bin/vllm") + 1 :][:2] == ["serve", "/srv/models/Mistral-Small-Instruct-2409-AWQ"]
        assert (option(words, "--quantization"), option(words, "--max-model-len")) == ("awq", "8192")
        assert (option(words, "--nnodes"), option(words, "--master-addr")) == ("2", "@node0@")
        assert (option(words, "--tensor-parallel-size"), option(words, "--pipeline-parallel-size")) == ("1", "2")
        assert option(words, "--distributed-executor-backend") == "mp"
    assert (option(head, "--node-rank"), option(head, "--host"), option(head, "--port")) == ("0", "@node0@", "8000")
    assert option(rank, "--node-rank") == "1"
    assert "--headless" in rank
    assert "--headless" not in head
    assert "VLLM_HOST_IP=@node1@" in rank
    assert "Not known, so not weighed: the accelerators' memory bandwidth" in unit(files, "node0")


def test_a_rank_behind_the_first_is_ended_when_the_first_is_lost() -> None:
    words = command(unit(render(profile(), "systemd"), "b"))
    assert words[:4] == ["/usr/local/bin/vllm-rank", "--head", "http://10.0.0.10:8000/health", "--"]
    assert "/usr/local/bin/vllm-rank" not in command(unit(render(profile(), "systemd"), "a"))
    assert "b/usr/local/bin/vllm-rank" in render(profile(), "systemd")


@pytest.mark.parametrize(("link", "cut"), [(SLOW, ("1", "2")), (FAST, ("2", "1"))])
def test_the_links_decide_how_it_is_cut(link: tuple[float, float], cut: tuple[str, str]) -> None:
    text = unit(render(profile(link), "systemd"), "a")
    words = command(text)
    assert (option(words, "--tensor-parallel-size"), option(words, "--pipeline-parallel-size")) == cut
    assert re.search(r"^# .*tok/s expected, [\d.]+ with (tensors|layers) by 2\.$", text, re.MULTILINE)


def test_what_the_profile_says_counts_more() -> None:
    words = command(unit(render(profile(FAST, tensor=1, pipeline=2), "systemd"), "a"))
    assert option(words, "--pipeline-parallel-size") == "2"
    assert cut_of(profile(FAST, tensor=1, pipeline=2)).why == "The profile says so."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tensor": 1, "pipeline": 1}, "tensor 1 × pipeline 1 does not fit 2 nodes with 1 accelerators each"),
        ({"tensor": 4, "pipeline": 1}, "tensor 4 × pipeline 1 does not fit 2 nodes"),
        ({"context": 1 << 20}, "vLLM cannot serve this model on two@0.1: layers by 2: needs"),
        ({"model": None}, "is not of type 'string'"),
        ({"model": "--help"}, "is not allowed here"),
        ({"tensor": 2}, "'pipeline' is a dependency of 'tensor'"),
        ({"executor": "slurm"}, "is not one of"),
        ({"memory": 1.5}, "greater than the maximum"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        render(profile(**changes), "systemd")


def test_one_node_needs_no_ranks() -> None:
    document = document_of(Path("two.yaml"), TEXT.replace("ARCHITECTURE", ARCHITECTURE).replace("LINK", "null").replace("RTT", "null"))
    document.values["roles"] = {"vllm_head": "a"}  # type: ignore[index]
    document.values["services"]["vllm"]["context"] = 4096  # type: ignore[index]
    words = command(unit(render(profile_of(document), "systemd"), "a"))
    assert not {"--nnodes", "--headless", "--master-addr"} & set(words)


def test_a_key_is_in_a_file_and_in_no_words() -> None:
    keyed = profile(environment_file="/etc/vllm/secret.env")
    files = render(keyed, "systemd")
    head = unit(files, "a")
    assert "EnvironmentFile=/etc/vllm/secret.env" in head
    assert "--api-key" not in head
    composed = yaml.safe_load(render(keyed, "compose")["a/compose.yaml"].text)["services"]["vllm-node"]
    assert composed["env_file"] == ["/etc/vllm/secret.env"]
    assert '. "$1"; set +a; shift; exec "$@"\' sh /etc/vllm/secret.env /usr/bin/env' in render(keyed, "nohup")["a/start"].text


def test_nodes_among_themselves_ask_for_no_key_so_nobody_else_reaches_them() -> None:
    """They listen at ports that the kernel chooses, and believe what comes there."""
    files = render(profile(environment_file="/etc/vllm/secret.env"), "systemd")
    for node in "ab":
        assert "IPAddressAllow=10.0.0.0/24 localhost" in unit(files, node)
        assert "ct state new tcp dport { 32768-60999 } ip saddr != 10.0.0.0/24 drop" in files[f"{node}/etc/nftables.d/llama.nft"].text
    assert "tcp dport { 8000, 29501 } ip saddr != 10.0.0.0/24 drop" in files["a/etc/nftables.d/llama.nft"].text
    ray = render(profile(executor="ray"), "systemd")["b/etc/nftables.d/llama.nft"].text
    assert "dport { 10002-19999, 32768-60999 }" in ray


def test_one_node_with_a_key_may_be_reached_from_elsewhere() -> None:
    document = document_of(Path("two.yaml"), TEXT.replace("ARCHITECTURE", ARCHITECTURE).replace("LINK", "null").replace("RTT", "null"))
    document.values["roles"] = {"vllm_head": "a"}  # type: ignore[index]
    document.values["services"]["vllm"] |= {"context": 4096, "environment_file": "/etc/vllm/secret.env"}  # type: ignore[index]
    files = render(profile_of(document), "systemd")
    assert "IPAddressDeny" not in unit(files, "a")
    assert "dport" not in files["a/etc/nftables.d/llama.nft"].text


@pytest.mark.parametrize("target", ["compose", "nohup"])
def test_every_rank_is_started_everywhere(target: str) -> None:
    files = render(profile(), target)
    text = files["b/compose.yaml" if target == "compose" else "b/start"].text
    assert "--headless" in text
    assert "vllm-rank" not in text


def test_the_older_way_is_ray() -> None:
    files = render(profile(executor="ray"), "systemd")
    first, second = (command(unit(files, node, "ray-node")) for node in "ab")
    assert first[first.index("/opt/vllm/bin/ray") + 1 :][:4] == ["start", "--head", "--port", "6379"]
    assert (option(second, "--address"), option(second, "--node-ip-address")) == ("10.0.0.10:6379", "10.0.0.11")
    assert {"--block"} <= set(first) & set(second)
    head = unit(files, "a")
    assert option(command(head), "--distributed-executor-backend") == "ray"
    assert "--nnodes" not in command(head)
    assert "After=network-online.target ray-node.service" in head
    assert "PartOf=ray-node.service" in head
    assert "Environment=RAY_ADDRESS=10.0.0.10:6379" in head
    assert "b/etc/systemd/system/vllm-node.service" not in files


@pytest.mark.parametrize("executor", ["mp", "ray"])
def test_systemd_has_nothing_to_mind_and_little_to_fear(executor: str, tmp_path: Path) -> None:
    if not ANALYZE:
        pytest.skip("systemd-analyze is not here: it comes with systemd")
    for path, file in render(profile(executor=executor, environment_file="/etc/k.env"), "systemd").items():
        if not re.search(r"/(vllm|ray)-node\.service$", path):
            continue
        place = tmp_path / path.replace("/", "_") / Path(path).name
        place.parent.mkdir()
        place.write_text(re.sub(r"(/usr/local/bin|/opt/vllm/bin)/\S+", "/bin/true", file.text))
        (place.parent / "ray-node.service").touch()
        if not (place.parent / "ray-node.service").read_text():
            (place.parent / "ray-node.service").write_text("[Service]\nExecStart=/bin/true\n")
        said = subprocess.run([ANALYZE, "verify", place], capture_output=True, text=True, check=False)
        assert (said.returncode, said.stderr) == (0, "")
        score = subprocess.run(
            [ANALYZE, "security", "--offline=true", "--threshold=25", "--no-pager", place], capture_output=True, check=False
        )
        assert score.returncode == 0


@pytest.mark.parametrize("executor", ["mp", "ray"])
def test_a_role_for_each_of_its_services(executor: str) -> None:
    files = render(profile(executor=executor), "ansible")
    plays = {play["roles"][0]["role"]: play["hosts"] for play in yaml.safe_load(files["site.yml"].text)}
    assert plays["vllm_node"] == ("vllm_head" if executor == "ray" else "vllm_head:vllm_worker")
    assert plays.get("ray_node") == ("vllm_head:vllm_worker" if executor == "ray" else None)
    role = "ray_node" if executor == "ray" else "vllm_node"
    tasks = yaml.safe_load(files[f"roles/{role}/tasks/main.yml"].text)
    names = [task["name"] for task in tasks]
    assert (
        names.index("Restart what changed now") < names.index("Restart the other ranks after any of them") < names.index("Restart them now")
    )
    defaults = yaml.safe_load(files["roles/vllm_node/defaults/main.yml"].text)
    assert defaults["vllm_node_programs"] == ["/opt/vllm/bin/vllm"]


def test_the_program_that_is_looked_for_is_vllm() -> None:
    from synaptic.deploy.files.builds import program_of

    assert {program_of(service) for service in services_of(profile())} == {"/opt/vllm/bin/vllm"}
    assert {program_of(service) for service in services_of(ARC) if service.name == "vllm-node"} == {"/opt/vllm/bin/vllm"}


@pytest.mark.live
@pytest.mark.timeout(300)
def test_the_real_one_understands_its_words(tmp_path: Path) -> None:
    """Its own parser reads them; nothing is loaded."""
    program = os.environ.get("VLLM")
    if not program:
        pytest.skip("VLLM names no program (vllm of a build for CPUs): the tests with a real vLLM need it")
    code = (
        "import sys\n"
        "from vllm.entrypoints.launchers.cli_args import make_arg_parser\n"
        "from vllm.utils.argparse_utils import FlexibleArgumentParser\n"
        "asked = make_arg_parser(FlexibleArgumentParser()).parse_args(sys.argv[1:])\n"
        "print(asked.tensor_parallel_size, asked.pipeline_parallel_size, asked.nnodes, asked.node_rank, asked.headless)\n"
    )
    environment = os.environ | {"VLLM_TARGET_DEVICE": "cpu", "PYTHONPATH": ""}
    told = []
    for service in services_of(profile(name="m", memory=0.85)):
        words = service.bare[service.bare.index("serve") + 1 :]
        said = subprocess.run(
            [Path(program).with_name("python"), "-c", code, *words], capture_output=True, text=True, check=False, env=environment
        )
        assert said.returncode == 0, said.stderr[-500:]
        told.append(said.stdout.splitlines()[-1])
    assert told == ["1 2 2 0 False", "1 2 2 1 True"]


@pytest.mark.timeout(300)
def test_a_rank_that_changed_takes_the_others_with_it(tmp_path: Path) -> None:
    """Run by Ansible itself, each node's files into a folder of its own: only b has a new unit, and a is restarted too."""
    ansible = shutil.which("ansible-playbook", path=os.pathsep.join([os.environ.get("ANSIBLE", ""), os.environ["PATH"]]))
    if not ansible or os.geteuid() != 0:
        pytest.skip("ansible-playbook is not here, or we are not root: set ANSIBLE to the folder of its programs")
    out = tmp_path / "two"
    write(render(profile(), "ansible"), out)
    for node in "ab":
        (tmp_path / "roots" / node / "etc/systemd/system").mkdir(parents=True)
    given = {"cluster_root": f"{tmp_path}/roots/{{{{ inventory_hostname }}}}", "cluster_is_live": False, "cluster_become": False}
    given["ansible_python_interpreter"] = "{{ ansible_playbook_python }}"
    words = [
        ansible,
        "-i",
        str(out / "inventory.yml"),
        "-c",
        "local",
        str(out / "site.yml"),
        "-e",
        json.dumps(given),
        "--tags",
        "configure",
    ]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}

    def restarted() -> tuple[set[str], set[str]]:
        """By their own unit, and because of another's."""
        said = subprocess.run(words, capture_output=True, text=True, env=variables, check=False, cwd=tmp_path)
        assert said.returncode == 0, said.stdout[-2000:]
        tasks = {part.split("]", 1)[0]: part for part in said.stdout.split("TASK [")}
        found = (tasks[f"vllm_node : {name}"] for name in ("Install the unit", "Restart the other ranks after any of them"))
        own, others = (set(re.findall(r"^changed: \[(\w)\]", each, re.MULTILINE)) for each in found)
        return own, others

    assert restarted() == ({"a", "b"}, set())
    unit_of_b = out / "files/b/etc/systemd/system/vllm-node.service"
    unit_of_b.write_text(unit_of_b.read_text() + "# new\n")
    assert restarted() == ({"b"}, {"a"})
