"""Workers behind TLS: who is believed, who may use them, and what is said when not."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest
from relays import Certificate, Program, answer, relays

from synaptic.cluster.backend import State as Health
from synaptic.cluster.handshake import shake
from synaptic.endpoint import Endpoint
from synaptic.environment import Environment
from synaptic.errors import EngineError, UsageError
from synaptic.events import Bus
from synaptic.models.model import Model
from synaptic.planning.plan import Plan
from synaptic.process.install import Engines
from synaptic.process.relay_trust import Trust, fingerprint_of, known
from synaptic.process.relay_tunnel import shake_behind, shake_over_tls
from synaptic.process.relayed import Relayed
from synaptic.process.worker_command import RPC_TLS
from synaptic.process.workers import LocalWorker, Workers

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl: no certificates can be made"),
]
HOST = "127.0.0.2"
Start = Callable[..., Awaitable[LocalWorker]]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("worker", "other", "ours"):
        Certificate.made(folder, name)
    return folder


@pytest.fixture
async def behind_tls(ggml_rpc_server: Path, certificates: Path, tmp_path: Path) -> AsyncIterator[Start]:
    workers = Workers(Engines(Environment.of_this_process()), Bus(), state=tmp_path / "workers", logs=tmp_path, variables=os.environ)

    async def start(clients: Path | None = None) -> LocalWorker:
        (worker,) = await workers.start(1, host=HOST, engine=RPC_TLS, certificate=certificates / "worker.pem", clients=clients)
        return worker

    yield start
    await workers.stop()


def written(folder: Path, worker: LocalWorker, said: str) -> Path:
    path = folder / "known"
    path.write_text(f"# those behind TLS\n{worker.endpoint} {said}\n")
    return path


@pytest.mark.parametrize("said", ["fingerprint", "authorities"])
async def test_an_answer_comes_over_tls(
    behind_tls: Start, program: Program, demo: Model, certificates: Path, tmp_path: Path, said: str
) -> None:
    worker = await behind_tls()
    wanted = {"fingerprint": fingerprint_of(certificates / "worker.pem"), "authorities": f"ca:{certificates / 'worker.pem'}"}
    path = written(tmp_path, worker, wanted[said])
    coordinators = program(Relayed(known=path))
    plain = await coordinators.ensure(Plan(demo, (), 512))
    text = await answer(plain)
    await coordinators.stop()
    coordinator = await coordinators.ensure(Plan(demo, (worker.endpoint,), 512))
    assert await answer(coordinator) == text
    assert next(share.endpoint for share in coordinator.shares() if share.model_bytes) == str(worker.endpoint)
    assert not [word for each in relays(coordinator) for word in each.cmdline() if "PRIVATE" in word]


async def test_the_server_itself_listens_on_loopback_only(behind_tls: Start) -> None:
    worker = await behind_tls()
    listening = [each.laddr.ip for each in psutil.Process(worker.pid).net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]


async def test_a_wrong_certificate_is_refused_and_said_so(
    behind_tls: Start, program: Program, demo: Model, certificates: Path, tmp_path: Path
) -> None:
    worker = await behind_tls()
    path = written(tmp_path, worker, fingerprint_of(certificates / "other.pem"))
    expected = f"worker {re.escape(str(worker.endpoint))} shows another certificate than the one that is known"
    with pytest.raises(EngineError, match=expected):
        await program(Relayed(known=path)).ensure(Plan(demo, (worker.endpoint,), 512))
    told = await shake_over_tls(worker.endpoint, Trust(authorities=certificates / "other.pem"))
    assert (told.state, "not trusted" in told.detail) == (Health.UNREACHABLE, True)
    assert (await shake_over_tls(worker.endpoint, Trust(fingerprint_of(certificates / "worker.pem")))).state is Health.IDLE


async def test_who_does_not_speak_tls_reaches_nothing_and_harms_nothing(behind_tls: Start, certificates: Path) -> None:
    worker = await behind_tls()
    assert getattr(await shake(worker.endpoint), "state", None) is not Health.IDLE
    told = await shake_over_tls(worker.endpoint, Trust(fingerprint_of(certificates / "worker.pem")))
    assert told.state is Health.IDLE
    assert told.endpoint == worker.endpoint


async def test_only_clients_with_a_certificate_that_is_named_may_use_it(behind_tls: Start, certificates: Path) -> None:
    worker = await behind_tls(certificates / "ours.pem")
    pin = fingerprint_of(certificates / "worker.pem")
    for own in (None, certificates / "other.pem"):
        told = await shake_over_tls(worker.endpoint, Trust(pin, own=own))
        assert getattr(told, "state", None) is not Health.IDLE
    assert (await shake_over_tls(worker.endpoint, Trust(pin, own=certificates / "ours.pem"))).state is Health.IDLE


async def test_a_file_that_does_not_fit_is_told_and_nothing_is_asked(tmp_path: Path, free_port: int) -> None:
    told = await shake_behind(Relayed(known=tmp_path / "absent"), Endpoint(HOST, free_port))
    assert (told.state, "cannot read" in told.detail) == (Health.UNREACHABLE, True)


async def test_a_handshake_leaves_nothing_open(behind_tls: Start, certificates: Path) -> None:
    worker, trust = await behind_tls(), Trust(fingerprint_of(certificates / "worker.pem"))
    before, tasks = psutil.Process().num_fds(), asyncio.all_tasks()
    for _ in range(5):
        await shake_over_tls(worker.endpoint, trust)
    assert psutil.Process().num_fds() == before
    assert asyncio.all_tasks() == tasks


async def test_a_relay_beside_its_worker_ends_with_it(behind_tls: Start) -> None:
    worker = await behind_tls()
    processes = psutil.Process(worker.pid).children(recursive=True)
    psutil.Process(worker.pid).kill()
    assert processes
    assert psutil.wait_procs(processes, timeout=20)[1] == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("127.0.0.2:50052 sha256:abc", "followed by neither a fingerprint nor authorities"),
        ("127.0.0.2:50052", "followed by neither"),
        ("127.0.0.2:99999 sha256:" + "00" * 32, "not a port"),
    ],
)
def test_a_line_that_says_nothing_is_refused(tmp_path: Path, line: str, expected: str) -> None:
    (tmp_path / "known").write_text(line)
    with pytest.raises(UsageError, match=expected):
        known(tmp_path / "known")


def test_fingerprints_may_have_colons_and_capitals(tmp_path: Path) -> None:
    (tmp_path / "known").write_text("worker.example sha256:" + ":".join(["AB"] * 32))
    assert known(tmp_path / "known") == {Endpoint("worker.example", 50052): Trust("sha256:" + "ab" * 32)}


def test_a_file_without_its_key_is_refused(certificates: Path, tmp_path: Path) -> None:
    lonely = tmp_path / "lonely.pem"
    lonely.write_bytes((certificates / "worker.pem").read_bytes())
    with pytest.raises(UsageError, match="does not hold a certificate and its key"):
        Trust("sha256:" + "00" * 32, own=lonely).context()
    assert Trust(own=certificates / "worker.pem").context().minimum_version is ssl.TLSVersion.TLSv1_3
