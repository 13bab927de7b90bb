"""What others claim in a look around: it decides who is asked, and how, and nothing else."""

from __future__ import annotations

import pytest

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.discovery.hearsay import Hearsay
from synaptic.discovery.hints import Hint
from synaptic.discovery.sources import SOURCES, merge
from synaptic.endpoint import Endpoint

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
    search = ("rpc", "discover", "--subnet", "127.0.9.0/29", "--port", "9", "--json")
    document = discover(*search, **at(fake.port)).json
    assert [(each["endpoint"], each["source"], each["added"]) for each in document["found"]] == [
        (f"127.0.9.1:{there.port}", "consul", True)
    ]
    assert [each["reason"] for each in document["others"]] == ["http"]


def test_rpc_discover_goes_on_without_consul(discover, populate, free_port):
    there = populate("good", first="127.0.9.1")
    done = discover("rpc", "discover", "--subnet", "127.0.9.0/30", "--port", str(there.port), "--json", **at(free_port))
    assert ([each["source"] for each in done.json["found"]], done.code) == (["scan"], 0)
    assert any("takes no connection" in note for note in done.json["notes"])
