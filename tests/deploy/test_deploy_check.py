"""deploy check against machines: what ssh is asked for is run here, in a folder that stands for each of them."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
from pathlib import Path

import pytest

from synaptic.commands import deploy, deploy_check  # noqa: F401 - declares them
from synaptic.commands.registry import registry
from synaptic.deploy.files.rendered import rendering
from synaptic.deploy.profile.profiles import Profiles
from synaptic.deploy.reach.drift import exposed_units, exposure, open_to_all
from synaptic.deploy.reach.installed import Installed, Socket
from synaptic.deploy.services.services import services_of
from synaptic.environment import Environment
from synaptic.errors import UsageError
from synaptic.process.elf import machine_of
from synaptic.results import Rows
from synaptic.session import Session
from synaptic.settings import Settings
from synaptic.shipped import shipped

pytestmark = pytest.mark.anyio
PROFILES = Profiles(shipped("hardware"), None, None)
PROFILE = """\
schema: 1
name: near
version: "0.1"
status: active
networks: {lo: {kind: loopback, cidr: 127.0.0.0/8}}
node_classes: {box: {arch: x86_64}}
nodes: {a: {class: box, addr: {lo: ADDRESS}}}
roles: ROLES
services: {llama_rpc: {port: PORT}, llama_head: {port: HEAD, model: /m}, dllama_worker: {port: PORT}}
"""
# what is asked for is looked up below the folder, and said as it is there
SSH = """\
#!/bin/sh
for command; do :; done
echo "$command" >>"$ROOT.said"
printf %s "$command" | sed "s#-- /#-- $ROOT/#; s# /etc# $ROOT/etc#g; s# /usr# $ROOT/usr#g" | sh | sed "s#$ROOT##"
"""


def session_of(tmp_path: Path, *, address: str = "127.0.49.1", port: int = 1, head: int = 1, roles: str = "{llama_rpc: [a]}") -> Session:
    (tmp_path / "bin").mkdir(exist_ok=True)
    (tmp_path / "bin/ssh").write_text(SSH)
    (tmp_path / "bin/ssh").chmod(0o755)
    own = tmp_path / "home/data/hardware/near/v0.1.yaml"
    own.parent.mkdir(parents=True, exist_ok=True)
    text = PROFILE.replace("ADDRESS", address).replace("PORT", str(port)).replace("HEAD", str(head)).replace("ROLES", roles)
    own.write_text(text)
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    variables = {**os.environ, "SYNAPTICLLAMAS_HOME": str(tmp_path / "home"), "PATH": path, "ROOT": str(tmp_path / "root")}
    return Session(Environment(variables, *(io.StringIO() for _ in range(3))), Settings.load(tmp_path / "s.json", {}))


async def check(session: Session, tmp_path: Path, *words: str) -> set[tuple[str, str]]:
    result = await registry.parse_words(["deploy", "check", str(tmp_path / "out"), *words]).run(session)
    assert isinstance(result, Rows)
    assert result.exit_code == (1 if result.items else 0)
    return {(each.what, each.why) for each in result.items}


async def installed(session: Session, tmp_path: Path) -> Path:
    """Rendered, and put where it belongs."""
    await registry.parse_words(["deploy", "render", "near", "--out", str(tmp_path / "out")]).run(session)
    shutil.copytree(tmp_path / "out/a", tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def rpc_port(rpc_worker) -> int:
    return int(rpc_worker(host="127.0.49.1").endpoint.port)


@pytest.mark.live
async def test_a_machine_that_is_as_it_was_rendered_and_serves_is_well(tmp_path: Path, rpc_port: int) -> None:
    session = session_of(tmp_path, port=rpc_port)
    await installed(session, tmp_path)
    assert await check(session, tmp_path, "--live") == set()


async def test_what_was_changed_or_is_missing_there_is_named(tmp_path: Path) -> None:
    session = session_of(tmp_path, roles="{dllama_worker: [a]}")
    root = await installed(session, tmp_path)
    (root / "etc/systemd/system/dllama-worker.service").write_text("[Service]\n")
    (root / "usr/local/bin/llama-resolve").unlink()
    (root / "usr/local/bin/dllama").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(11) + b"\xb7\x00")
    shutil.rmtree(root / "etc/consul.d")  # no Consul there
    assert await check(session, tmp_path, "--live") == {
        ("a:/etc/systemd/system/dllama-worker.service", "is not what was rendered"),
        ("a:/usr/local/bin/llama-resolve", "is not installed"),
        ("a:/usr/local/bin/dllama", "was built for aarch64, and this is x86_64"),
    }
    assert "sha256sum" in (tmp_path / "root.said").read_text()


async def test_what_consul_is_to_be_told_with_has_to_be_there_where_the_profile_says_so(tmp_path: Path) -> None:
    session = session_of(tmp_path, roles="{dllama_worker: [a], monitoring: [a]}")
    own = tmp_path / "home/data/hardware/near/v0.1.yaml"
    own.write_text(own.read_text().replace("services: {", "services: {monitoring: {consul: true}, "))
    root = await installed(session, tmp_path)
    shutil.rmtree(root / "etc/consul.d")
    shutil.rmtree(root / "etc/systemd/dnssd")
    assert await check(session, tmp_path, "--root", str(root)) == {("a:/etc/consul.d/llama.json", "is not installed")}


async def test_a_worker_that_does_not_answer_is_named_and_one_of_dllama_is_not_connected_to(tmp_path: Path) -> None:
    session = session_of(tmp_path, port=1)
    await installed(session, tmp_path)
    ((what, why),) = await check(session, tmp_path, "--live")
    assert (what, "refused" in why) == ("a:llama-rpc", True)
    touched = asyncio.Event()
    server = await asyncio.start_server(lambda *_: touched.set(), "127.0.49.2", 0)
    async with server:
        shutil.rmtree(tmp_path / "root")
        shutil.rmtree(tmp_path / "out")
        (tmp_path / "home/data/hardware/near/v0.1.yaml").unlink()
        shutil.rmtree(tmp_path / "home/state", ignore_errors=True)
        port = server.sockets[0].getsockname()[1]
        session = session_of(tmp_path, address="127.0.49.2", port=port, roles="{dllama_worker: [a]}")
        await installed(session, tmp_path)
        assert await check(session, tmp_path, "--live") == set()
        assert not touched.is_set()


@pytest.mark.parametrize(("status", "said"), [(200, None), (503, "answers 503")])
async def test_a_head_is_asked_for_its_health(tmp_path: Path, status: int, said: str | None) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /health ")
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.49.3", 0) as server:
        session = session_of(tmp_path, address="127.0.49.3", head=server.sockets[0].getsockname()[1], roles="{llama_head: a}")
        await installed(session, tmp_path)
        found = await check(session, tmp_path, "--live")
        assert [why.endswith(said or "") for _, why in found] == ([True] if said else [])


async def test_a_machine_that_does_not_answer_is_said_to(tmp_path: Path) -> None:
    session = session_of(tmp_path)
    await installed(session, tmp_path)
    (tmp_path / "bin/ssh").write_text("#!/bin/sh\necho 'ssh: no route to host' >&2\nexit 255\n")
    assert ("a", "cannot be looked at: ssh: no route to host") in await check(session, tmp_path, "--live")


async def test_the_versions_of_workers_are_to_be_the_same() -> None:
    from synaptic.cluster.backend import Backend, Kind, State
    from synaptic.deploy.reach.answers import of_workers
    from synaptic.endpoint import Endpoint

    one, other = Endpoint("10.0.0.1", 1), Endpoint("10.0.0.2", 1)
    said = [Backend(one, Kind.RPC, State.IDLE, "7.0.0"), Backend(other, Kind.RPC, State.IN_USE, "6.1.0")]
    (finding,) = of_workers({one: "a", other: "b"}, said)
    assert finding.why == "not the same version everywhere: 6.1.0 on b; 7.0.0 on a"
    assert of_workers({one: "a", other: "b"}, [said[0], Backend(other, Kind.RPC, State.BUSY)]) == []


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("*", True),
        ("0.0.0.0", True),
        ("::", True),
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("10.0.0.3", False),
        ("127.0.0.1", False),
        ("node2", False),
    ],
)
async def test_a_worker_on_a_public_address_is_an_error(address: str, is_open: bool) -> None:
    assert bool(open_to_all(address)) is is_open
    services = services_of(PROFILES.profile("beefcake"))
    found = exposure(Installed("node2", sockets=(Socket(address, 50052), Socket("*", 22))), services)
    assert [each.what for each in found] == (["node2:llama-rpc"] if is_open else [])


async def test_a_unit_that_was_made_to_listen_everywhere_is_an_error(tmp_path: Path) -> None:
    session = session_of(tmp_path)
    await installed(session, tmp_path)
    unit = tmp_path / "out/a/etc/systemd/system/llama-rpc.service"
    unit.write_text(unit.read_text().replace("--host 127.0.49.1", "--host 0.0.0.0"))
    assert ("a:llama-rpc", "listens on every address: it has no key") in await check(session, tmp_path)
    unit.write_text(unit.read_text().replace("--host 0.0.0.0 ", ""))
    assert [each.why for each in exposed_units(rendering(tmp_path / "out"))] == ["listens where its program likes: it has no key"]


async def test_which_machine_a_folder_stands_for_has_to_be_plain(tmp_path: Path) -> None:
    session = session_of(tmp_path)
    await registry.parse_words(["deploy", "render", "beefcake", "--out", str(tmp_path / "out")]).run(session)
    with pytest.raises(UsageError, match="which node does the folder stand for"):
        await check(session, tmp_path, "--root", str(tmp_path))
    await registry.parse_words(["deploy", "render", "beefcake", "--target", "nohup", "--out", str(tmp_path / "out")]).run(session)
    with pytest.raises(UsageError, match="was rendered for nohup, which installs nothing"):
        await check(session, tmp_path, "--root", str(tmp_path))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"\x7fELF\x02\x01" + bytes(12) + b"\x3e\x00", "x86_64"),
        (b"\x7fELF\x02\x02" + bytes(12) + b"\x00\x3e", "another one"),
        (b"#!/bin/sh", None),
    ],
)
async def test_a_header_says_what_a_program_is_for(head: bytes, said: str | None) -> None:
    assert machine_of(head) == said
