"""Shaking hands with workers, with what only looks like one, and with nothing at all."""

from __future__ import annotations

import asyncio
import http.server
import re
import socket
import threading

import pytest

from synaptic.cluster.backend import Backend, Device, State
from synaptic.cluster.handshake import Foreign, Version, shake
from synaptic.endpoint import Endpoint

pytestmark = pytest.mark.anyio
LONG = 20.0  # seconds for an answer that must come, on a busy machine
FOR_THE_SECOND = 6.0  # of them a fifth, after the first greeting was in vain
HELLO = bytes.fromhex("0e1800000000000000") + bytes(24)


async def backend_at(endpoint: Endpoint, **options) -> Backend:
    answer = await shake(endpoint, **{"within": LONG} | options)
    assert isinstance(answer, Backend), answer
    return answer


async def foreign_at(endpoint: Endpoint, within: float = LONG) -> Foreign:
    answer = await shake(endpoint, within=within)
    assert isinstance(answer, Foreign), answer
    return answer


async def test_an_idle_worker_tells_its_version_and_memory(rpcfake):
    fake = rpcfake("--devices", "2", "--free", "5", "--total", "7")
    answer = await backend_at(fake.endpoint)
    assert (answer.endpoint, answer.state, answer.version, answer.detail) == (fake.endpoint, State.IDLE, "7.0.0", "")
    assert answer.devices == (Device("RPC0", 5, 7), Device("RPC1", 5, 7))
    assert answer.free_bytes == 10
    assert answer.latency_ms
    assert fake.ended() == "ended 1 complete"


async def test_a_name_is_resolved(rpcfake):
    answer = await backend_at(Endpoint("localhost", rpcfake().endpoint.port))
    assert answer.state is State.IDLE


async def test_a_slow_worker_is_waited_for(rpcfake):
    answer = await backend_at(rpcfake("--slow", "0.7").endpoint)
    assert answer.state is State.IDLE


async def test_a_worker_too_slow_counts_as_busy_and_is_left_unharmed(rpcfake):
    fake = rpcfake("--slow", "0.6")
    answer = await backend_at(fake.endpoint, within=0.3)
    assert (answer.state, answer.detail) == (State.BUSY, "did not answer in 0.3 s: busy with another coordinator, or no rpc-server")
    assert fake.ended() == "ended 1 reset"


async def test_one_that_answers_late_is_greeted_again_and_unharmed(rpcfake):
    fake = rpcfake("--mode", "late")
    answer = await backend_at(fake.endpoint, within=FOR_THE_SECOND)
    assert answer.state is State.IDLE
    assert [fake.ended(), fake.ended()] == ["ended 1 reset", "ended 2 complete"]


async def test_a_busy_worker_survives_being_asked(rpcfake):
    fake = rpcfake("--busy")
    answer = await backend_at(fake.endpoint, within=0.3)
    assert answer.state is State.BUSY
    fake.free()
    assert fake.ended() == "ended 1 reset"
    assert (await backend_at(fake.endpoint)).state is State.IDLE


async def test_the_fake_knows_a_careless_client(rpcfake):
    fake = rpcfake("--busy")
    with socket.create_connection((fake.endpoint.host, fake.endpoint.port)) as careless:
        careless.sendall(HELLO)
    fake.free()
    assert fake.ended() == "ended 1 closed before reply"


async def test_a_worker_older_than_the_24_bytes_needs_an_upgrade(rpcfake):
    fake = rpcfake("--style", "legacy", "--version", "2.0.0", "--free", "5", "--total", "7")
    answer = await backend_at(fake.endpoint)
    assert (answer.state, answer.version, answer.detail) == (State.INCOMPATIBLE, "2.0.0", "protocol 2.0.0, needs upgrade")
    assert answer.devices == (Device("RPC0", 5, 7),)
    assert [fake.ended(), fake.ended()] == ["ended 1 refused", "ended 2 complete"]


async def test_an_old_worker_fits_an_old_engine(rpcfake):
    answer = await backend_at(rpcfake("--style", "legacy", "--version", "3.6.0").endpoint, speaks=Version(3, 6, 0))
    assert answer.state is State.IDLE


@pytest.mark.parametrize(("version", "verdict"), [("7.1.0", "too new"), ("99.0.0", "too new"), ("5.1.0", "needs upgrade")])
async def test_another_protocol_is_incompatible_and_says_both_versions(rpcfake, version, verdict):
    answer = await backend_at(rpcfake("--version", version).endpoint, speaks=Version(7, 0, 0))
    assert (answer.state, answer.version) == (State.INCOMPATIBLE, version)
    assert answer.detail == f"protocol {version}, {verdict}: the engine here speaks 7.0.0"
    assert len(answer.devices) == 1


async def test_an_incompatible_one_need_not_answer_our_further_questions(rpcfake):
    fake = rpcfake("--version", "99.0.0", "--mode", "close-after-hello")
    answer = await backend_at(fake.endpoint, speaks=Version(7, 0, 0))
    assert (answer.state, answer.devices) == (State.INCOMPATIBLE, ())
    assert (await foreign_at(fake.endpoint)).reason == "closed"


@pytest.mark.parametrize(
    ("mode", "reason", "detail"),
    [
        ("http", "http", "HTTP server (fake/1.0 ^[[31m)"),
        ("http-line", "http", "HTTP server"),
        ("garbage", "garbage", "answered something else: "),
        ("ansi", "garbage", "answered something else: ^[]52;c;"),
        ("swapped", "garbage", "answered something else: ^@^@"),
        ("length-27", "garbage", "answered 27 bytes where an rpc-server answers 28"),
        ("length-29", "garbage", "answered 29 bytes where an rpc-server answers 28"),
        ("length-0", "garbage", "answered 0 bytes where an rpc-server answers 28"),
        ("rst-in-reply", "reset", "reset the connection in the middle of an answer"),
        ("half-close", "closed", "closed the connection in the middle of an answer"),
        ("half-close-at-once", "closed", "closed the connection without an answer"),
        ("close-after-hello", "closed", "closed the connection in the middle of an answer"),
        ("no-devices", "implausible", "claims 0 devices"),
        ("many-devices", "implausible", "claims 4294967295 devices"),
        ("free-over-total", "implausible", "claims 9223372036854775808 of 1048576 bytes free on device 0"),
        ("zero-memory", "implausible", "claims 0 of 0 bytes free on device 0"),
        ("huge-memory", "implausible", "claims 1152921504606846976 of 1152921504606846976 bytes free on device 0"),
    ],
)
async def test_what_is_no_rpc_server_is_named_with_the_reason(rpcfake, mode, reason, detail):
    answer = await foreign_at(rpcfake("--mode", mode).endpoint, within=FOR_THE_SECOND if mode == "http-line" else LONG)
    assert (answer.reason, answer.detail[: len(detail)]) == (reason, detail)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e]", answer.detail)


async def test_one_that_closes_on_both_greetings_is_no_rpc_server(rpcfake):
    fake = rpcfake("--mode", "close")
    answer = await shake(fake.endpoint, within=LONG)
    assert answer == Foreign(fake.endpoint, "closed", "closed the connection without an answer")


class QuietHandler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass


async def test_a_web_server_that_waits_for_a_line_is_recognised():
    with http.server.HTTPServer(("127.0.0.1", 0), QuietHandler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        answer = await foreign_at(Endpoint("127.0.0.1", server.server_port), within=FOR_THE_SECOND)
        thread.join()
    assert answer.reason == "http"


@pytest.mark.parametrize("mode", ["silent", "dribble", "silent-after-hello"])
async def test_the_deadline_is_for_the_whole_talk_and_harms_nobody(rpcfake, mode):
    fake = rpcfake("--mode", mode)
    answer = await backend_at(fake.endpoint, within=0.4)
    assert answer.state is State.BUSY
    assert fake.ended() == "ended 1 reset"


async def test_a_port_that_refuses_is_unreachable(closed_port):
    answer = await backend_at(closed_port)
    assert (answer.state, answer.detail) == (State.UNREACHABLE, "refused the connection: no server listens there")


async def test_a_full_queue_takes_no_connection():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        endpoint = Endpoint("127.0.0.1", full.getsockname()[1])
        with socket.create_connection(full.getsockname()):
            answer = await backend_at(endpoint, within=0.3)
    assert answer.state is State.UNREACHABLE
    assert answer.detail == "took no connection in 0.3 s: host down, filtered, or a busy worker with a full queue"


@pytest.mark.parametrize("host", ["nosuch.example", "no..name", "x" * 64 + ".invalid"])
async def test_a_name_nobody_knows_is_unreachable(host):
    answer = await backend_at(Endpoint(host, 50052))
    assert (answer.state, answer.detail) == (State.UNREACHABLE, "no address is known by its name")


async def test_a_name_that_is_looked_up_too_long_is_unreachable(monkeypatch):
    async def never(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    answer = await backend_at(Endpoint("slow.example", 50052), within=0.1)
    assert (answer.state, answer.detail) == (State.UNREACHABLE, "its name was not found in 0.1 s")
