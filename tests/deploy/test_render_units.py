"""Units: what systemd itself says of them, and what an earlier role got wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from systemd_units import on_disk

from synaptic.deploy.files import escape
from synaptic.deploy.files.render import render
from synaptic.deploy.files.unit import gated
from synaptic.deploy.profile.document import document_of
from synaptic.deploy.profile.profile import Profile
from synaptic.deploy.profile.profiles import Profiles
from synaptic.deploy.profile.read import profile_of
from synaptic.errors import UsageError
from synaptic.planning.machine import Share
from synaptic.planning.placement import Machine, place
from synaptic.planning.shape import Shape
from synaptic.planning.speeds import Speed
from synaptic.shipped import shipped

ANALYZE = shutil.which("systemd-analyze")
PROFILES = Profiles(shipped("hardware"), None, None)
UNITS = [
    (path.parent.name, name)
    for path in PROFILES.files()
    for name in render(PROFILES.profile(str(path)), "systemd")
    if re.search(r"/system/.*\.(service|timer)$", name)
]
TEXT = """\
schema: 1
name: one
version: "0.1"
status: active
networks: {lan: {kind: ethernet, cidr: 10.0.0.0/24}}
node_classes: {box: {arch: x86_64, cpu: {cores: {spec: 4, source: data sheet, at: 2026-11-21}}}}
nodes: {a: {class: box, addr: {lan: 10.0.0.10}}, b: {class: box, addr: {lan: 10.0.0.11}}}
roles: {llama_head: a, llama_rpc: [b]}
services: {llama_head: {model: /m}}
"""


def profile(text: str = TEXT) -> Profile:
    return profile_of(document_of(Path("one.yaml"), text))


def units(name: str) -> dict[str, str]:
    return {path: file.text for path, file in render(PROFILES.profile(name), "systemd").items() if path.endswith(".service")}


def directives(text: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


@pytest.fixture
def analyze() -> str:
    if not ANALYZE:
        pytest.skip("systemd-analyze is not here: it comes with systemd")
    return ANALYZE


@pytest.mark.parametrize(("cluster", "name"), UNITS)
def test_systemd_has_nothing_to_mind(analyze: str, cluster: str, name: str, tmp_path: Path) -> None:
    path = on_disk(render(PROFILES.profile(cluster), "systemd"), name, tmp_path)
    said = subprocess.run([analyze, "verify", path], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")  # for an unknown key it exits with 0, and prints


@pytest.mark.parametrize(("cluster", "name"), [each for each in UNITS if each[1].endswith(".service")])
def test_the_exposure_is_small(analyze: str, cluster: str, name: str, tmp_path: Path) -> None:
    path = on_disk(render(PROFILES.profile(cluster), "systemd"), name, tmp_path)
    most = "25" if "DeviceAllow" in path.read_text() or "vllm" in name else "20"
    words = [analyze, "security", "--offline=true", f"--threshold={most}", "--no-pager", path]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout[-200:]


def test_an_open_unit_would_be_noticed(analyze: str, tmp_path: Path) -> None:
    path = tmp_path / "open.service"
    path.write_text("[Service]\nExecStart=/bin/true\nNoSuchKey=1\n")
    assert subprocess.run([analyze, "verify", path], capture_output=True, check=False).stderr
    assert subprocess.run([analyze, "security", "--offline=true", "--threshold=20", path], capture_output=True, check=False).returncode


def test_every_template_says_nothing_that_an_old_systemd_does_not_know() -> None:
    text = next(text for path, text in units("beefcake").items() if path == "node2/etc/systemd/system/llama-rpc.service")
    assert directives(text, "Type") == ["simple"]  # Type=exec came with 240; this is 239
    late = ("ProtectHostname", "RestrictSUIDSGID", "OOMPolicy", "ProtectKernelLogs", "ProtectClock", "ProtectProc", "SocketBindDeny")
    assert not [name for name in late if directives(text, name)]
    new = next(iter(units("lab-local").values()))
    assert all(directives(new, name) for name in late)
    assert gated("ProtectClock=yes\n", 245) == "ProtectClock=yes\n"
    assert gated("ProtectClock=yes\n", 244) == "\n"


def test_a_value_is_written_so_that_systemd_reads_it_back(analyze: str, tmp_path: Path) -> None:
    hostile = "/models/a b/100%n $HOME \"q\" \\x 'y';z"
    document = document_of(Path("one.yaml"), TEXT)
    document.values["services"]["llama_head"]["model"] = hostile  # type: ignore[index]
    files = render(profile_of(document), "systemd")
    path = on_disk(files, "a/etc/systemd/system/llama-head.service", tmp_path)
    said = subprocess.run([analyze, "verify", path], capture_output=True, text=True, check=False)
    assert said.stderr == ""
    assert '"/models/a b/100%%n $$HOME \\"q\\" \\\\x \'y\';z"' in path.read_text()


@pytest.mark.parametrize("bad", ["a\nExecStart=/bin/sh", "a\x00", "a\x1b[2J", "a\u2028b", "a\rb"])
def test_what_a_unit_cannot_say_is_refused(bad: str) -> None:
    for write in (
        escape.path,
        escape.line,
        escape.comment,
        lambda text: escape.assignment("A", text),
        lambda text: escape.exec_line(("/x", text)),
    ):
        with pytest.raises(UsageError, match="a unit cannot say"):
            write(bad)


@pytest.mark.parametrize("program", ["relative", "/a$b"])
def test_a_program_is_a_path(program: str) -> None:
    with pytest.raises(UsageError, match="not a path that systemd can start"):
        escape.exec_line((program,))


def test_the_agent_of_a_node_sees_processes_of_every_user_and_writes_errors_alone() -> None:
    agent = units("lab-local")["local/etc/systemd/system/llama-node-agent.service"]
    assert directives(agent, "ProtectProc") == ["default"]
    assert (directives(agent, "SyslogLevel"), directives(agent, "LogLevelMax")) == (["warning"], ["notice"])
    others = [text for path, text in units("lab-local").items() if "agent" not in path]
    assert {each for text in others for each in directives(text, "ProtectProc")} == {"invisible"}


def test_how_much_a_head_writes_can_be_said_by_the_profile() -> None:
    loud = TEXT.replace("model: /m", 'model: /m, environment: {LLAMA_ARG_LOG_VERBOSITY: "3"}')
    for text, level in ((TEXT, "2"), (loud, "3")):
        head = render(profile(text), "systemd")["a/etc/systemd/system/llama-head.service"].text
        assert directives(head, "Environment") == [f"LLAMA_ARG_LOG_VERBOSITY={level}"]


def test_credentials_are_handed_over_by_systemd_where_it_can() -> None:
    keyed = TEXT.replace("model: /m", "model: /m, api_key_file: /etc/k, tls_certificate: /etc/k.pem, tls_key: /etc/k.key")
    head = render(profile(keyed), "systemd")["a/etc/systemd/system/llama-head.service"].text
    assert directives(head, "LoadCredential") == ["api-key:/etc/k", "certificate:/etc/k.pem", "key:/etc/k.key"]
    (command,) = directives(head, "ExecStart")
    assert command.count("${CREDENTIALS_DIRECTORY}/api-key ") == 2
    assert "/etc/k" not in command
    assert "https://10.0.0.10:8080" in command
    old = render(profile(keyed.replace("arch: x86_64,", "arch: x86_64, os: {systemd: 239},")), "systemd")
    text = old["a/etc/systemd/system/llama-head.service"].text
    assert not directives(text, "LoadCredential")
    assert "--ssl-cert-file /etc/k.pem" in text


def test_limits_come_from_the_plan_or_are_not_there() -> None:
    assert "Memory" not in units("lab-local")["local/etc/systemd/system/llama-rpc.service"].replace("MemoryDenyWriteExecute", "")
    shape = Shape((1 << 30,) * 4, 1 << 20, 0, 64, 64, 64, 100, 1000, 1000, "Q8_0")
    from synaptic.deploy.profile.machines import machines

    chosen = PROFILES.profile("lab-local")
    placed = place(shape, machines(chosen), context=512)
    (share,) = placed.shares
    text = render(chosen, "systemd", placed)["local/etc/systemd/system/llama-rpc.service"].text
    assert share.bytes < int(directives(text, "MemoryHigh")[0]) < int(directives(text, "MemoryMax")[0]) < 2 * share.bytes
    assert isinstance(share, Share)


def test_the_split_of_the_plan_is_that_of_the_head() -> None:
    shape = Shape((1 << 30,) * 4, 1 << 20, 0, 64, 64, 64, 100, 1000, 1000, "Q8_0")
    text = TEXT.replace("llama_rpc: [b]", "llama_rpc: [a, b]")
    chosen = profile(text)
    from synaptic.deploy.profile.machines import machines

    found = [Machine(each.endpoint, 3 << 30, Speed(1e9)) for each in machines(chosen)]
    (command,) = directives(
        render(chosen, "systemd", place(shape, found, context=256))["a/etc/systemd/system/llama-head.service"].text, "ExecStart"
    )
    assert "--rpc 10.0.0.10:50052,10.0.0.11:50052 --tensor-split 2,3" in command


# What an earlier role for distributed-llama got wrong.


def dllama(name: str) -> str:
    return next(text for path, text in units("goldentooth").items() if path.endswith(f"/{name}.service"))


def test_no_worker_is_held_to_a_part_of_one_core() -> None:
    assert not [path for path, text in units("goldentooth").items() if "CPUQuota" in text]


def test_no_worker_has_a_limit_of_memory_that_nobody_worked_out() -> None:
    assert not directives(dllama("dllama-worker"), "MemoryMax")


def test_workers_are_words_of_their_own() -> None:
    (command,) = directives(dllama("dllama-api"), "ExecStart")
    after = command.split(" --workers ")[1].split()
    assert after[0] == "@cargyll@:9999"
    assert "," not in command


def test_every_worker_of_the_profile_is_there_and_no_other() -> None:
    (command,) = directives(dllama("dllama-api"), "ExecStart")
    named = [word.strip("@").partition("@")[0] for word in command.split(" --workers ")[1].split()]
    assert named == list(PROFILES.profile("goldentooth").roles["dllama_worker"])


def test_nobody_asks_a_dllama_api_for_its_health() -> None:
    files = render(PROFILES.profile("goldentooth"), "systemd")
    assert "http" not in files["bettley/etc/consul.d/llama.json"].text
    assert "tcp" not in files["cargyll/etc/consul.d/llama.json"].text.replace("_tcp", "")


def test_a_worker_with_an_accelerator_may_open_it() -> None:
    with_gpu = TEXT.replace("arch: x86_64,", "arch: x86_64, devices: [{id: g, kind: gpu, vendor: intel, model: A, backend: [vulkan]}],")
    with_gpu = with_gpu.replace("llama_head: a, llama_rpc", "dllama_root: a, dllama_worker").replace(
        "llama_head: {model: /m}", "dllama_root: {model: /m, tokenizer: /t}"
    )
    text = render(profile(with_gpu), "systemd")["b/etc/systemd/system/dllama-worker.service"].text
    assert directives(text, "PrivateDevices") == ["no"]
    assert directives(text, "DeviceAllow") == ["char-drm rw"]
    assert directives(text, "MemoryDenyWriteExecute") == ["no"]


def test_no_unit_needs_a_folder_that_may_be_missing() -> None:
    assert not [path for cluster in ("goldentooth", "beefcake") for path, text in units(cluster).items() if "ReadWritePaths" in text]


def test_a_handler_can_fire() -> None:
    for path, file in render(PROFILES.profile("goldentooth"), "ansible").items():
        if path.endswith("handlers/main.yml"):
            assert not re.search(r"when:.*\n(\s+- .* == .*\n){2}", file.text)


def test_a_start_script_ends_in_the_program_itself() -> None:
    start = render(PROFILES.profile("goldentooth"), "nohup")["cargyll/start"].text
    assert "tee" not in start
    assert 'exec setsid "$@"' in start


def test_a_root_that_answers_once_has_something_to_answer() -> None:
    text = dllama("dllama-root")
    assert "inference --prompt Hello" in text
    assert "[Install]" not in text
    assert directives(text, "Conflicts") == ["dllama-api.service"]
    assert directives(dllama("dllama-api"), "Conflicts") == ["dllama-root.service"]
