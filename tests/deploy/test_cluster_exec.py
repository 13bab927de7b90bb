"""cluster exec, with OpenSSH's own server on loopback where it is installed (SSHD names it), and with a program in the place of ssh."""

from __future__ import annotations

import contextlib
import getpass
import io
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import end

from synaptic.commands import cluster  # noqa: F401 - declares it
from synaptic.commands.registry import registry
from synaptic.environment import Environment
from synaptic.errors import UsageError
from synaptic.results import Rows
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio
PROFILE = """\
schema: 1
name: three
version: "0.1"
status: active
networks: {lo: {kind: loopback, cidr: 127.0.0.0/8}}
node_classes: {box: {arch: x86_64}}
nodes:
  a: {class: box, addr: {lo: 127.0.47.1}}
  b: {class: box, addr: {lo: 127.0.47.2}}
  stranger: {class: box, addr: {lo: 127.0.47.3}}
roles: {llama_rpc: [a, b]}
"""
# privileges are separated for a user that a machine without the package has not: in a mount namespace, it has
AS_ROOT = 'mount --bind "$1" /etc/passwd && mount -t tmpfs none /run && mkdir -m 755 /run/sshd && shift && exec "$@"'


def session_of(folder: Path, ssh: Path) -> Session:
    path = os.pathsep.join([str(ssh.parent), os.environ["PATH"]])
    variables = {"SYNAPTICLLAMAS_HOME": str(folder), "PATH": path, "HOME": str(folder)}
    own = folder / "data/hardware/three"
    own.mkdir(parents=True)
    (own / "v0.1.yaml").write_text(PROFILE)
    return Session(Environment(variables, *(io.StringIO() for _ in range(3))), Settings.load(folder / "s.json", {}))


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


async def run(session: Session, line: str) -> Rows[object]:
    result = await registry.parse_line(f"cluster exec {line}").run(session)
    assert isinstance(result, Rows)
    return result


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Path]:
    """An `ssh` that knows two of the three nodes; the server has a key of its own and lets in one key."""
    server = os.environ.get("SSHD") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
    if not server or not shutil.which("ssh-keygen"):
        pytest.skip("no sshd here: apt install openssh-server, or name it with SSHD")
    for name in ("host", "own"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True, capture_output=True)
    with socket.create_server(("127.0.47.1", 0)) as probe:
        port = probe.getsockname()[1]
    addresses = "\n".join(f"ListenAddress 127.0.47.{number}:{port}" for number in (1, 2, 3))
    (tmp_path / "sshd.conf").write_text(
        f"{addresses}\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/own.pub\nPidFile none\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin yes\nPasswordAuthentication no\n"
    )
    key = " ".join((tmp_path / "host.pub").read_text().split()[:2])
    (tmp_path / "known").write_text("".join(f"[127.0.47.{number}]:{port} {key}\n" for number in (1, 2)))
    ssh = f"exec {shutil.which('ssh')} -F none -p {port} -i {tmp_path}/own -o UserKnownHostsFile={tmp_path}/known -l {getpass.getuser()}"
    wrapper = script(tmp_path / "bin/ssh", f'{ssh} "$@"')
    words = [server, "-D", "-e", "-f", str(tmp_path / "sshd.conf")]
    if os.geteuid() == 0:
        (tmp_path / "passwd").write_text(Path("/etc/passwd").read_text() + "sshd:x:64999:65534::/run/sshd:/bin/false\n")
        words = ["unshare", "--mount", "--fork", "--kill-child", "sh", "-c", AS_ROOT, "sh", str(tmp_path / "passwd"), *words]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    said = []
    for line in process.stderr:
        said.append(line)
        if "listening on 127.0.47.3" in line or "Server listening on 127.0.47.1" in line:
            break
    else:
        pytest.skip(f"sshd does not run here: {said[-1:]}")
    yield wrapper
    end(process)
    process.stderr.close()


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    return script(tmp_path / "bin/ssh", 'for word; do printf "<%s>" "$word"; done')


async def test_each_node_says_its_own_and_its_exit_code(sshd: Path, tmp_path: Path) -> None:
    result = await run(session_of(tmp_path / "home", sshd), "a b -- 'echo $SSH_CONNECTION; exit 3'")
    assert result.exit_code == 3
    assert [(each.node, each.code) for each in result.items] == [("a", 3), ("b", 3)]  # type: ignore[attr-defined]
    assert ["127.0.47.1" in result.items[0].output, "127.0.47.2" in result.items[1].output] == [True, True]  # type: ignore[attr-defined]


async def test_several_words_arrive_as_they_are(sshd: Path, tmp_path: Path) -> None:
    result = await run(session_of(tmp_path / "home", sshd), """a -- printf '<%s>' 'a  b' '$HOME' ';id' '--flag' "it's" """)
    assert result.items[0].output == "<a  b><$HOME><;id><--flag><it's>"  # type: ignore[attr-defined]
    assert result.exit_code == 0


async def test_a_machine_whose_key_is_not_known_is_not_spoken_to(sshd: Path, tmp_path: Path) -> None:
    result = await run(session_of(tmp_path / "home", sshd), "all -- true")
    assert [each.code for each in result.items] == [0, 0, 255]  # type: ignore[attr-defined]
    assert "Host key verification failed" in result.items[2].errors  # type: ignore[attr-defined]


async def test_what_is_said_is_kept_up_to_a_limit_and_the_rest_does_not_hold_it_up(sshd: Path, tmp_path: Path) -> None:
    result = await run(session_of(tmp_path / "home", sshd), "a -- 'head -c 3000000 /dev/zero; exit 0'")
    said = result.items[0]
    assert (said.code, len(said.output), said.is_cut) == (0, 1 << 16, True)  # type: ignore[attr-defined]


async def test_one_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    ssh = script(tmp_path / "bin/ssh", "exec sleep 1000")
    result = await run(session_of(tmp_path / "home", ssh), "a --within 0.2 -- true")
    assert result.items[0].code is None  # type: ignore[attr-defined]
    assert "no answer within" in result.items[0].errors  # type: ignore[attr-defined]


async def test_ssh_asks_nobody_and_reads_no_option_from_a_node(fake: Path, tmp_path: Path) -> None:
    result = await run(session_of(tmp_path / "home", fake), "a -- uptime")
    assert result.items[0].output == "<-n><-o><BatchMode=yes><-o><ConnectTimeout=5><--><127.0.47.1><uptime>"  # type: ignore[attr-defined]


async def test_no_more_than_asked_for_run_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ssh = script(tmp_path / "bin/ssh", f"echo begin >>{log}; for each in 1 2 3 4 5; do :; done; echo end >>{log}")
    await run(session_of(tmp_path / "home", ssh), "all --at-once 1 -- true")
    assert log.read_text().split() == ["begin", "end"] * 3


@pytest.mark.parametrize("node", ["control", "control_0_1"])
async def test_the_machine_that_nodes_boot_from_is_reached_too_and_is_none_of_all(fake: Path, tmp_path: Path, node: str) -> None:
    session = session_of(tmp_path / "home", fake)
    (said,) = (await run(session, f"{node} --profile arc-a770 -- uptime")).items
    assert (said.node, said.output.endswith("<--><control_0_1><uptime>")) == ("control_0_1", True)  # type: ignore[attr-defined]
    every = (await run(session, "all --profile arc-a770 -- uptime")).items
    assert [each.node for each in every] == ["node0", "node1"]  # type: ignore[attr-defined]
    (bettley,) = (await run(session, "control --profile goldentooth -- uptime")).items
    assert bettley.node == "bettley"  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="has no machine called 'control'"):
        await run(session, "control --profile beefcake -- uptime")


@pytest.mark.parametrize("node", ["nobody", "-oProxyCommand=id", "a;id", "127.0.0.1"])
async def test_a_node_is_one_of_the_profile(fake: Path, tmp_path: Path, node: str) -> None:
    with pytest.raises(UsageError, match="has no machine called"):
        await run(session_of(tmp_path / "home", fake), f"'{node}' -- id")


@pytest.mark.parametrize(("line", "said"), [("a", "nothing to run"), ("a --", "nothing to run"), ("a --at-once 0 -- id", "--at-once is")])
async def test_what_is_missing_is_said(fake: Path, tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        await run(session_of(tmp_path / "home", fake), line)


async def test_without_a_profile_of_ones_own_one_is_asked_for(fake: Path, tmp_path: Path) -> None:
    session = session_of(tmp_path / "home", fake)
    shutil.rmtree(tmp_path / "home/data")
    with pytest.raises(UsageError, match="which profile's machines"):
        await run(session, "a -- id")
    with contextlib.suppress(UsageError):
        assert (await run(session, "node1 --profile beefcake -- id")).exit_code == 0
