"""What others claim in a look around: it decides who is asked, and how, and nothing else."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.commands.looking import Looking
from synaptic.discovery.hearsay import Hearsay
from synaptic.discovery.hint import Hint, is_far
from synaptic.discovery.sources import SOURCES, merge
from synaptic.discovery.targets import THIS_MACHINE, Area, Interface, Targets
from synaptic.endpoint import Endpoint
from synaptic.environment import Environment
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio
A, B = Endpoint("127.0.0.2", 50052), Endpoint("127.0.0.3", 50052)


def at(port: int, token: str = "") -> dict[str, str]:
    return {"CONSUL_HTTP_ADDR": f"127.0.0.1:{port}"} | ({"CONSUL_HTTP_TOKEN": token} if token else {})


def test_the_best_source_is_named():
    assert merge([(A, "scan"), (B, "environment"), (A, "consul"), (B, "scan"), (A, "zeroconf")]) == {A: "consul", B: "environment"}
    assert list(merge((Endpoint("127.0.0.1", 1 + place), source) for place, source in enumerate(reversed(SOURCES))).values()) == list(
        SOURCES
    )


async def test_a_claim_decides_how_one_is_asked_but_never_that_a_dllama_port_is():
    asked: list[tuple[Endpoint, Kind]] = []

    async def identify(endpoint: Endpoint, kind: Kind) -> Backend:
        asked.append((endpoint, kind))
        return Backend(endpoint, kind, State.IDLE, source="scan")

    head, worker = Endpoint("127.0.0.4", 1234), Endpoint("127.0.0.4", 9999)
    claims = [Hint(A, Kind.OPENAI, "consul"), Hint(head, Kind.OPENAI, "consul"), Hint(worker, Kind.RPC, "consul")]
    hearsay = Hearsay(claims, [A], identify)
    assert hearsay.endpoints == [head, worker]
    assert [(await hearsay.identify(each, Kind.RPC)).source for each in (A, head, worker)] == ["scan", "consul", "consul"]
    assert asked == [(A, Kind.RPC), (head, Kind.OPENAI), (worker, Kind.DLLAMA)]


def test_rpc_discover_asks_consul_and_proves_what_it_says(discover, populate, launch):
    there = populate("good", "http", first="127.0.9.1")
    words = [f"llama-rpc=127.0.9.{last}:{there.port}" for last in (1, 2, 3)]
    fake = launch("consulfake.py", *(word for each in words for word in ("--service", each)))
    search = ("rpc", "discover", "--subnet", "127.0.9.0/29", "--port", "9", "--timeout", "20", "--json")
    document = discover(*search, **at(fake.port)).json
    assert [(each["endpoint"], each["source"], each["added"]) for each in document["found"]] == [
        (f"127.0.9.1:{there.port}", "consul", True)
    ]
    assert [each["reason"] for each in document["others"]] == ["http"]


def test_rpc_discover_goes_on_without_consul(discover, populate, free_port):
    there = populate("good", first="127.0.9.1")
    done = discover("rpc", "discover", "--subnet", "127.0.9.0/30", "--port", str(there.port), "--timeout", "20", "--json", **at(free_port))
    assert ([each["source"] for each in done.json["found"]], done.code) == (["scan"], 0)
    assert any("takes no connection" in note for note in done.json["notes"])


def make_session(home: Path, confirm: Callable[[str], Awaitable[bool]], **variables: str) -> Session:
    streams = [io.StringIO() for _ in range(3)]
    return Session(
        Environment({"SYNAPTICLLAMAS_HOME": str(home), **variables}, *streams), Settings.load(home / "settings.json", {}), confirm
    )


async def test_there_is_one_question_for_all_that_are_far_and_no_leaves_them_alone(launch, tmp_path):
    told = ("8.8.8.8:50052", "192.0.2.7:50052", "127.0.9.1:9", "224.0.0.1:50052")
    fake = launch("consulfake.py", *(word for each in told for word in ("--service", f"llama-rpc={each}")))
    asked: list[str] = []

    async def no(question: str) -> bool:
        asked.append(question)
        return False

    session = make_session(tmp_path, no, CONSUL_HTTP_ADDR=f"127.0.0.1:{fake.port}")
    looking = Looking(session, {9: Kind.RPC}, 0.5)
    here = Targets((Area(IPv4Network("127.0.0.1"), THIS_MACHINE),), (IPv4Address("127.0.0.1"),))
    assert [line async for line in looking.lines(here, is_named=False)] == []
    assert asked == ["8.8.8.8:50052 (consul), 192.0.2.7:50052 (consul): they are outside this machine's networks. look there too?"]
    assert [note for note in looking.note().data["notes"] if note.startswith("not looked at")] == [
        "not looked at: 8.8.8.8:50052 (consul), 192.0.2.7:50052 (consul): they are outside this machine's networks"
    ]


def test_what_is_public_or_of_a_network_that_is_not_ours_is_far():
    own = [
        Interface("lan0", IPv4Address("10.77.0.1"), IPv4Network("10.77.0.0/24")),
        Interface("dmz0", IPv4Address("8.8.8.1"), IPv4Network("8.8.8.0/24")),
    ]
    down = dataclasses.replace(own[0], network=IPv4Network("10.78.0.0/24"), is_up=False)
    near = ("10.77.0.9", "127.0.9.1", "fe80::1%lan0", "fd00::1")
    far = ("10.78.0.9", "192.168.1.1", "8.8.8.9", "100.64.0.1")
    assert [host for host in (*near, *far) if is_far(Endpoint(host, 1), [*own, down])] == list(far)


def test_where_a_find_was_heard_of_is_still_known_later(discover, populate, launch):
    there = populate("good*2", first="127.0.9.1")
    fake = launch("consulfake.py", "--service", f"llama-rpc=127.0.9.2:{there.port}")
    discover("rpc", "discover", "--subnet", "127.0.9.0/29", "--port", str(there.port), "--timeout", "20", **at(fake.port))
    discover("rpc", "add", "127.0.9.3")
    listed = discover("rpc", "list", "--json").json["backends"]
    assert {each["endpoint"].split(":")[0]: each["source"] for each in listed} == {
        "127.0.9.1": "scan",
        "127.0.9.2": "consul",
        "127.0.9.3": "configured",
    }
    assert [line.split()[0] for line in discover("rpc", "list").out.splitlines() if "consul" in line] == [f"127.0.9.2:{there.port}"]
