"""Consul over HTTPS: an agent is believed when the authorities of CONSUL_CACERT vouch for it, and what is wrong is said."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
from ports import free_port

from synaptic.cluster.backend import Kind
from synaptic.discovery.consul import Consul, ask_consul
from synaptic.discovery.consul_answers import Access, Service
from synaptic.discovery.hint import Hint
from synaptic.endpoint import Endpoint

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl: no certificates can be made"),
]
A = Endpoint("127.0.0.9", 50052)
LISTING = json.dumps([{"Service": {"Address": A.host, "Port": A.port}}]).encode()
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def authority(folder: Path, name: str) -> Path:
    """A certificate that may sign others."""
    usage = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
    openssl(folder, "req", "-x509", *KEY, "-subj", f"/CN={name}", *usage, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return folder / f"{name}.pem"


def signed(folder: Path, by: str, *, names: str) -> tuple[Path, Path]:
    """A server's certificate and its key."""
    (folder / "of-server").write_text(f"subjectAltName={names}\nauthorityKeyIdentifier=keyid\nextendedKeyUsage=serverAuth,clientAuth\n")
    openssl(folder, "req", *KEY, "-subj", "/CN=server.dc1.consul", "-keyout", "server.key", "-out", "server.csr")
    signing = ("-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial", "-days", "2", "-extfile", "of-server")
    openssl(folder, "x509", "-req", "-in", "server.csr", *signing, "-out", "server.pem")
    return folder / "server.pem", folder / "server.key"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ours.pem has signed server.pem, which is for 127.0.0.1; others.pem has not."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ours", "others"):
        authority(folder, name)
    signed(folder, "ours", names="IP:127.0.0.1,DNS:localhost,DNS:server.dc1.consul")
    return folder


@pytest.fixture
async def agent(certificates: Path) -> AsyncIterator[int]:
    """Answers every request with one worker, over TLS."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(LISTING), LISTING))
        await writer.drain()
        writer.close()

    port = free_port("0.0.0.0")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    async with await asyncio.start_server(answer, ("127.0.0.1", "127.0.0.2"), port, ssl=context):
        yield port


def variables(port: int, authorities: Path | None, host: str = "127.0.0.1") -> dict[str, str]:
    return {"CONSUL_HTTP_ADDR": f"https://{host}:{port}"} | ({"CONSUL_CACERT": str(authorities)} if authorities else {})


async def test_an_agent_with_a_certificate_of_our_own_authority_is_believed(agent, certificates):
    heard = await ask_consul(variables(agent, certificates / "ours.pem"), [Kind.RPC])
    assert (heard.found, heard.notes) == ((Hint(A, Kind.RPC, "consul"),), ())


@pytest.mark.parametrize(
    ("authorities", "host", "told"),
    [
        (None, "127.0.0.1", "shows a certificate that is not trusted: unable to get local issuer certificate; CONSUL_CACERT names"),
        ("others.pem", "127.0.0.1", "shows a certificate that CONSUL_CACERT does not vouch for: unable to get local issuer certificate"),
        ("ours.pem", "127.0.0.2", "shows a certificate that is for another name or address"),
        ("nowhere.pem", "127.0.0.1", "CONSUL_CACERT names no file of certificates that can be read"),
        ("server.key", "127.0.0.1", "CONSUL_CACERT names no file of certificates that can be read"),
        (".", "127.0.0.1", "CONSUL_CACERT names no file of certificates that can be read"),
    ],
)
async def test_one_that_is_not_trusted_is_not_believed_and_why_is_said(agent, certificates, authorities, host, told):
    context = variables(agent, certificates / authorities if authorities else None, host)
    heard = await ask_consul(context, [Kind.RPC])
    assert heard.found == ()
    (note,) = heard.notes
    assert told in note


# a real agent


@pytest.fixture
def real_agent(certificates: Path, tmp_path: Path) -> Iterator[int]:
    yield from run_agent(certificates, tmp_path, wants_ours=False)


@pytest.fixture
def strict_agent(certificates: Path, tmp_path: Path) -> Iterator[int]:
    """It wants a certificate of whoever asks."""
    yield from run_agent(certificates, tmp_path, wants_ours=True)


def run_agent(certificates: Path, folder: Path, *, wants_ours: bool) -> Iterator[int]:
    if not (program := os.environ.get("CONSUL_BINARY")):
        pytest.skip("CONSUL_BINARY names no program: no real Consul agent to ask")
    https, *others = (free_port() for _ in range(4))
    ports = dict(zip(("serf_lan", "serf_wan", "server"), others, strict=True)) | {"http": -1, "https": https, "dns": -1, "grpc": -1}
    files = {"ca_file": "ours.pem", "cert_file": "server.pem", "key_file": "server.key"}
    settings = {key: str(certificates / name) for key, name in files.items()}
    settings |= {"disable_update_check": True, "node_name": "node-1", "ports": ports, "verify_incoming_https": wants_ours}
    (folder / "agent.json").write_text(json.dumps(settings))
    here = ("-bind", "127.0.0.1", "-client", "127.0.0.1")
    words = ("agent", "-dev", *here, "-log-level", "info", "-config-file", str(folder / "agent.json"))
    with subprocess.Popen([program, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as agent:
        assert agent.stdout
        assert any("Synced node info" in line for line in agent.stdout), "the agent ended"
        yield https
        psutil.Process(agent.pid).kill()
        agent.stdout.read()


async def test_a_real_agent_is_believed_with_our_authority_and_lists_us(real_agent, certificates):
    named = variables(real_agent, certificates / "ours.pem")
    access = Access.of(named)
    assert access
    async with asyncio.timeout(30), Consul(access) as consul:
        service = Service("llama-rpc", A)
        await consul.register(service)
        await consul.keep_alive(service)
        assert (await ask_consul(named, [Kind.RPC])).found == (Hint(A, Kind.RPC, "consul"),)


async def test_a_real_agent_that_is_not_trusted_is_told_nothing(real_agent, certificates):
    (untrusted,) = (await ask_consul(variables(real_agent, certificates / "others.pem"), [Kind.RPC])).notes
    assert "shows a certificate that CONSUL_CACERT does not vouch for" in untrusted
    plain = {"CONSUL_HTTP_ADDR": f"127.0.0.1:{real_agent}"}
    (spoken_to_plainly,) = (await ask_consul(plain, [Kind.RPC])).notes
    assert "answered 400: Client sent an HTTP request to an HTTPS server." in spoken_to_plainly


async def test_a_real_agent_that_wants_a_certificate_of_ours_is_named(strict_agent, certificates):
    (note,) = (await ask_consul(variables(strict_agent, certificates / "ours.pem"), [Kind.RPC])).notes
    assert "wants a certificate of its clients" in note
