"""Consul's answers, as a real agent gave them and as a stranger might."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from synaptic.cluster.backend import Kind
from synaptic.discovery.consul import ask_consul
from synaptic.discovery.consul_answers import Access, next_index, parse, pause
from synaptic.discovery.hint import Hints
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, UsageError

pytestmark = pytest.mark.anyio
RECORDED = Path(__file__).parents[1] / "data" / "consul"
TOKEN = "5ec7e7-70ce4"
A, B = Endpoint("127.0.0.2", 50052), Endpoint("127.0.0.3", 50052)


def recorded(name: str) -> object:
    return json.loads((RECORDED / f"{name}.json").read_text())["body"]


def test_a_real_answer_is_read_and_an_empty_address_is_that_of_the_node():
    listing = parse(json.dumps(recorded("passing")).encode())
    assert (listing.endpoints, listing.left_out) == ((A, Endpoint("127.0.0.1", 50052)), 0)
    assert listing.nodes == ("", "node-1")  # the first is at another address than its agent


def shape(value: object) -> object:
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()} if set(value) - {"proto"} else {}
    return [shape(each) for each in value[:1]] if isinstance(value, list) and value and isinstance(value[0], dict) else type(value).__name__


async def test_the_stand_in_answers_in_the_shape_of_a_real_agent(launch):
    fake = launch("consulfake.py", "--service", "llama-rpc=127.0.0.2:50052")
    _, body = await ask(fake.port, "GET /v1/health/service/llama-rpc?passing=1")
    assert shape(json.loads(body)) == shape(recorded("passing"))


@pytest.mark.parametrize(
    ("name", "token", "request_line"),
    [
        ("unknown", TOKEN, "GET /v1/health/service/web?passing=1"),
        ("acl_no_token", "", "GET /v1/health/service/llama-rpc?passing=1"),
        ("acl_wrong_token", "wrong", "GET /v1/health/service/llama-rpc?passing=1"),
        ("acl_register_no_token", "", "PUT /v1/agent/service/register"),
        ("unknown_check", TOKEN, "PUT /v1/agent/check/pass/service:nothing"),
    ],
)
async def test_the_stand_in_refuses_as_a_real_agent_does(launch, name, token, request_line):
    fake = launch("consulfake.py", "--token", TOKEN, "--service", "llama-rpc=127.0.0.2:50052")
    status, body = await ask(fake.port, request_line, token)
    real = json.loads((RECORDED / f"{name}.json").read_text())
    assert status == real["status"]
    assert body.decode().startswith("[]" if real["body"] == [] else real["body"].partition(" on ")[0])


async def ask(port: int, request_line: str, token: str = "") -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{request_line} HTTP/1.1\r\nHost: x\r\nX-Consul-Token: {token}\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"3", b"[" * 100_000, b"\xff", b"9" * 5000])
def test_what_is_no_list_is_refused(body):
    with pytest.raises(BackendError, match="did not answer"):
        parse(body)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("evil host", 1),
        ("127.0.0.1:9", 1),
        ("\x1b[2J", 1),
        ("127.0.0.1", 0),
        ("127.0.0.1", 65536),
        ("127.0.0.1", "1"),
        ("127.0.0.1", True),
        ({}, 1),
    ],
)
def test_an_entry_without_an_address_and_port_is_left_out(host, port):
    entries = [{"Service": {"Address": host, "Port": port}}, {"Service": {"Address": "127.0.0.2", "Port": 50052}}, 7, {"Service": None}]
    listing = parse(json.dumps(entries).encode())
    assert (listing.endpoints, listing.left_out) == ((A,), 3)


# where the agent is


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("127.0.0.1:8500", "http://127.0.0.1:8500"),
        ("localhost", "http://localhost:8500"),
        ("[::1]:8500", "http://[::1]:8500"),
        ("http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
        ("https://consul.invalid", "https://consul.invalid:443"),
    ],
)
def test_its_address_may_be_written_in_these_ways(written, url):
    assert Access.of({"CONSUL_HTTP_ADDR": written}) == Access(url)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("unix:///run/consul.sock", "unix socket"),
        ("ftp://127.0.0.1", "no address"),
        ("http://me:secret@127.0.0.1", "no address"),
        ("http://127.0.0.1:8500/path", "more than an address"),
        ("127.0.0.1:99999", "not a port"),
        ("http://[::1", "CONSUL_HTTP_ADDR"),
    ],
)
async def test_another_address_is_refused_plainly_and_discovery_goes_on(written, why):
    with pytest.raises(UsageError, match=why) as caught:
        Access.of({"CONSUL_HTTP_ADDR": written})
    assert "secret" not in f"{caught.value} {caught.value.hint}"
    (note,) = (await ask_consul({"CONSUL_HTTP_ADDR": written}, [Kind.RPC])).notes
    assert why in note


async def test_without_the_variable_nobody_is_asked():
    assert await ask_consul({}, list(Kind)) == Hints()


# when to ask again


def test_an_index_is_a_number_that_grows():
    assert [next_index(each, 5) for each in ("6", "5", "4", "", None, "x", "-9", "9" * 30)] == [6, 5, 0, 0, 0, 0, 0, 0]


def test_a_pause_is_a_minute_at_most_and_never_the_same_for_all():
    assert [pause(failures, 1.0) for failures in (1, 2, 3, 7, 5000)] == [1, 2, 4, 60, 60]
    assert pause(7, 0.0) == 30
