"""The scripts that machines get, run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import DEMO, REPOSITORY, end

from synaptic.deploy.files.render import render, write
from synaptic.deploy.profile.document import document_of
from synaptic.deploy.profile.read import profile_of

BIN = REPOSITORY / "config" / "deploy" / "bin"
ENDED, FAILED = "98e322203f7a4ed290d09fe03c09fe15", "d9b373ed55a64feb8242e02dbe79a49c"
AGAIN, STARTED = "5eb03494b6584870a536b337290809b3", "39f53479d3a045ac8e11786248231fbf"
SYSTEMCTL = """\
#!/bin/sh
case "$*" in
    *ActiveState*broken) echo failed ;;
    *ActiveState*) echo active ;;
    *MainPID*) echo "${PID:-0}" ;;
    *NRestarts*) echo 3 ;;
    *broken*) echo "[not set]" ;;
    *) echo 1024 ;;
esac
"""


def resolved(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "llama-resolve", *words], capture_output=True, text=True, check=False)


def test_names_become_addresses_and_other_words_stay() -> None:
    said = resolved("printf", "<%s>", "@localhost@:9999", "a b", "$HOME %n 'x'", "", "@localhost@,@localhost@", "a@b")
    assert said.stdout == "<127.0.0.1:9999><a b><$HOME %n 'x'><><127.0.0.1,127.0.0.1><a@b>"


def test_the_processors_are_counted_on_the_machine() -> None:
    assert int(resolved("echo", "@nproc@").stdout) >= 1


def test_a_name_without_an_address_starts_nothing() -> None:
    said = resolved("echo", "@no-such-host.invalid@")
    assert (said.returncode, said.stdout) == (69, "")
    assert "no-such-host.invalid has no address" in said.stderr


@pytest.mark.parametrize(
    "script",
    [
        "llama-service-status",
        "llama-cluster-monitor",
        "llama-node-agent",
        "llama-resolve",
        "llama-verify-unit",
        "llama-verify-models",
        "llama-tls-renew",
    ],
)
def test_a_shell_reads_it(script: str) -> None:
    assert subprocess.run(["sh", "-n", BIN / script], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("line", "code"), [("", 0), ("NoSuchKey=1", 1), ("Type=nonsense", 1)])
def test_a_unit_is_verified_under_its_own_name(tmp_path: Path, line: str, code: int) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here: it comes with systemd")
    (tmp_path / "upload.tmp").write_text(f"[Service]\nExecStart=/bin/true\n{line}\n")
    said = subprocess.run([BIN / "llama-verify-unit", tmp_path / "upload.tmp", "x.service"], capture_output=True, text=True, check=False)
    assert (said.returncode, bool(said.stderr)) == (code, bool(code))


def programs(folder: Path, journal: str) -> None:
    """systemctl and journalctl, as this node has them."""
    (folder / "journal").write_text(journal)
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", '#!/bin/sh\ncat "${0%/*}/journal"\n')):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def journal(*events: tuple[float, str]) -> str:
    """As journalctl -o json says it, in whatever order of fields."""
    lines = [{"__CURSOR": "s=1;i=2", "MESSAGE_ID": kind, "__REALTIME_TIMESTAMP": str(round(at * 1e6))} for at, kind in events]
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_a_status_is_asked_of_the_system_and_the_kernel(tmp_path: Path) -> None:
    if not shutil.which("ss"):
        pytest.skip("ss is not here: it comes with iproute2")
    programs(tmp_path, journal((0, STARTED), (100, ENDED), (100.1, FAILED), (105, AGAIN), (105.5, STARTED)))
    services = tmp_path / "services"
    variables = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LLAMA_SERVICES": str(services)}
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        services.write_text(f"good {server.getsockname()[1]}\n")
        said = subprocess.run([BIN / "llama-service-status"], capture_output=True, text=True, env=variables, check=False)
        assert (said.returncode, said.stdout) == (0, "good\tactive\t3\t1024\tlistening\t5.5\n")
        with pytest.raises(BlockingIOError):
            server.accept()  # nobody connected
        port = server.getsockname()[1]
    services.write_text(f"broken -\ngood {port}\n")
    said = subprocess.run([BIN / "llama-service-status"], capture_output=True, text=True, env=variables, check=False)
    assert (said.returncode, said.stdout) == (1, "broken\tfailed\t3\t-\t-\t5.5\ngood\tactive\t3\t1024\tclosed\t5.5\n")


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], "-"),
        ([(0, STARTED), (50, ENDED), (60, STARTED)], "-"),  # somebody stopped it, and started it again
        ([(0, STARTED), (50, ENDED), (50, FAILED), (55, AGAIN)], "-"),  # not back yet
        ([(10, ENDED), (12, AGAIN), (14, ENDED), (16, AGAIN), (20, STARTED)], "10.0"),  # it took two attempts
        ([(10, FAILED), (12, AGAIN), (14, STARTED), (20, ENDED), (20, FAILED), (25, AGAIN), (30, STARTED)], "7.0"),
    ],
)
def test_the_time_to_repair_is_from_its_end_until_it_is_back(tmp_path: Path, events: list[tuple[float, str]], said: str) -> None:
    programs(tmp_path, journal(*events))
    (tmp_path / "services").write_text("good -\n")
    variables = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LLAMA_SERVICES": str(tmp_path / "services")}
    told = subprocess.run([BIN / "llama-service-status"], capture_output=True, text=True, env=variables, check=False)
    assert told.stdout.rstrip("\n").split("\t")[5] == said


def test_a_frozen_process_is_not_active(tmp_path: Path) -> None:
    programs(tmp_path, "")
    (tmp_path / "services").write_text("good -\n")
    with subprocess.Popen(["sleep", "1000"]) as process:
        variables = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LLAMA_SERVICES": str(tmp_path / "services")}
        words = {"capture_output": True, "text": True, "env": variables | {"PID": str(process.pid)}, "check": False}
        assert subprocess.run([BIN / "llama-service-status"], **words).returncode == 0  # type: ignore[call-overload]
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        told = subprocess.run([BIN / "llama-service-status"], **words)  # type: ignore[call-overload]
        process.kill()
    assert (told.returncode, told.stdout.split("\t")[1]) == (1, "frozen")


class Systemd:
    """Its end of the notification socket."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(40)

    def wait_for(self, word: str) -> None:
        while word not in self.socket.recv(4096).decode():
            pass

    def hears_within(self, seconds: float, word: str) -> bool:
        """What was said before is forgotten."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv(4096)
        self.socket.settimeout(seconds)
        try:
            self.wait_for(word)
        except TimeoutError:
            return False
        return True


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    found = Systemd(tmp_path)
    yield found
    found.socket.close()


def head(systemd: Systemd, llama_server: Path, port: int, watchdog: float, *words: str) -> subprocess.Popen[bytes]:
    command = [llama_server, "--host", "127.0.0.1", "--port", str(port), "--model", str(DEMO), "--slots", "--cache-ram", "0", *words]
    variables = {**os.environ, "NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": str(round(watchdog * 1e6))}
    notify = [BIN / "llama-head-notify", "--url", f"http://127.0.0.1:{port}", "--load-within", "60", "--"]
    return subprocess.Popen(
        [*map(str, notify), *map(str, command)], env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


@pytest.mark.live
def test_a_head_is_ready_when_it_writes_and_silent_when_it_is_frozen(systemd: Systemd, llama_server: Path, free_port: int) -> None:
    import psutil

    process = head(systemd, llama_server, free_port, 1.2)
    try:
        systemd.wait_for("READY=1")
        systemd.wait_for("WATCHDOG=1")
        (child,) = psutil.Process(process.pid).children()
        child.suspend()
        while systemd.hears_within(2.0, "WATCHDOG=1"):  # one may have been on its way
            pass
        os.kill(process.pid, signal.SIGABRT)  # as the watchdog does
        assert process.wait(20) != 0
        assert not child.is_running()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        end(process)


@pytest.mark.live
def test_a_head_that_is_asked_to_end_ends(systemd: Systemd, llama_server: Path, free_port: int) -> None:
    process = head(systemd, llama_server, free_port, 30)
    try:
        systemd.wait_for("READY=1")
        process.terminate()
        assert process.wait(20) in (0, 143)
    finally:
        end(process)


def test_a_head_that_cannot_start_is_never_ready(systemd: Systemd, free_port: int) -> None:
    process = head(systemd, Path("/bin/false"), free_port, 30)
    assert process.wait(20) == 1
    assert not systemd.hears_within(0.1, "READY=1")


@pytest.mark.live
def test_the_nohup_scripts_start_a_real_worker_and_end_it(tmp_path: Path, ggml_rpc_server: Path, free_port: int) -> None:
    text = f"""\
schema: 1
name: here
version: "0.1"
status: active
networks: {{lo: {{kind: loopback}}}}
node_classes: {{box: {{arch: x86_64}}}}
nodes: {{a: {{class: box, addr: {{lo: localhost}}}}}}
roles: {{llama_rpc: [a]}}
services: {{llama_rpc: {{port: {free_port}, program: "{ggml_rpc_server}", environment: {{LLAMA_CACHE: "{tmp_path}/$a b"}}}}}}
"""
    write(render(profile_of(document_of(Path("x.yaml"), text)), "nohup"), tmp_path / "out")
    node = tmp_path / "out/a"
    variables = {**os.environ, "LLAMA_RUN": str(tmp_path / "run")}

    def script(name: str) -> str:
        return subprocess.run([node / name], env=variables, capture_output=True, text=True, check=True).stdout

    started = script("start")
    try:
        assert "llama-rpc started" in started
        assert "runs already" in script("start")
        pid = int((tmp_path / "run/llama-rpc.pid").read_text())
        status = Path(f"/proc/{pid}/status").read_text()
        ignored = int(next(line for line in status.splitlines() if line.startswith("SigIgn:")).split()[1], 16)
        assert ignored & 1 << (signal.SIGPIPE - 1)
    finally:
        stopped = script("stop")
    assert "llama-rpc stopped" in stopped
    assert not Path(f"/proc/{pid}/exe").exists()
