"""Consul: what it lists is heard, bounded and never believed; what it does wrong is one sentence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from synaptic.cluster.backend import Kind
from synaptic.discovery.consul import Consul, ask_consul
from synaptic.discovery.consul_answers import Access, Service, parse
from synaptic.discovery.hint import Hint, Hints
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError

pytestmark = pytest.mark.anyio
TOKEN = "5ec7e7-70ce4"
A, B = Endpoint("127.0.0.2", 50052), Endpoint("127.0.0.3", 50052)


def at(port: int, token: str = "") -> dict[str, str]:
    return {"CONSUL_HTTP_ADDR": f"127.0.0.1:{port}"} | ({"CONSUL_HTTP_TOKEN": token} if token else {})


def access(port: int, token: str = "") -> Access:
    found = Access.of(at(port, token))
    assert found
    return found


async def heard(port: int, *kinds: Kind, token: str = "") -> Hints:
    return await ask_consul(at(port, token), kinds or (Kind.RPC,))


def no_rest(rests: list[float]) -> Callable[[float], object]:
    async def rest(seconds: float) -> None:
        rests.append(seconds)
        await asyncio.sleep(0)

    return rest


# what it lists


async def test_its_healthy_services_of_the_wanted_kinds_are_heard(launch):
    names = (
        "llama-rpc=127.0.0.2:50052",
        "dllama-worker=127.0.0.2:9999",
        "llama-head=127.0.0.2:8080",
        "vllm-node=127.0.0.2:8000",
        "web=127.0.0.2:1",
    )
    fake = launch("consulfake.py", *(word for name in names for word in ("--service", name)))
    assert (await heard(fake.port)).found == (Hint(A, Kind.RPC, "consul"),)
    everything = await heard(fake.port, *Kind)
    assert [(each.endpoint.port, each.kind) for each in everything.found] == [
        (50052, Kind.RPC),
        (9999, Kind.DLLAMA),
        (8080, Kind.OPENAI),
        (8000, Kind.OPENAI),
    ]
    assert everything.notes == ()


async def test_it_cannot_send_us_out_into_the_world(launch):
    useless = ("224.0.0.1:50052", "0.0.0.0:50052", "255.255.255.255:50052", "example.invalid:50052")
    fake = launch(
        "consulfake.py", *(word for each in (*useless, "8.8.8.8:50052", "100.64.0.1:50052") for word in ("--service", f"llama-rpc={each}"))
    )
    said = await heard(fake.port)
    assert [str(hint.endpoint) for hint in said.found] == ["100.64.0.1:50052"]
    assert [str(hint.endpoint) for hint in said.far] == ["8.8.8.8:50052"]
    left_out = "left out 4 instances of llama-rpc, at no IPv4 address that could be used"
    assert said.notes == (f"consul at http://127.0.0.1:{fake.port}: {left_out}",)


async def test_a_thousand_are_enough_and_the_rest_is_spoken_of(launch):
    many = [{"Service": {"Address": "127.0.0.2", "Port": port}} for port in range(1, 1501)]
    listing = parse(json.dumps(many).encode())
    assert (len(listing.endpoints), listing.left_out) == (1000, 500)
    fake = launch("consulfake.py", "--service", "llama-rpc=evil host:1")
    left_out = "left out 1 instance of llama-rpc, without an address and port or beyond 1000"
    assert await heard(fake.port) == Hints(notes=(f"consul at http://127.0.0.1:{fake.port}: {left_out}",))


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("refusing", "answered 500: No cluster leader^[[2J …"),
        ("garbage", "did not answer in JSON"),
        ("deep", "did not answer in JSON"),
        ("huge", "answered with more than 1 MiB"),
        ("redirect", "answered with a redirect (301), which is not followed"),
        ("slow", "did not answer in 2 s"),
    ],
)
async def test_what_it_does_wrong_is_one_sentence(launch, mode, why):
    fake = launch("consulfake.py", "--mode", mode)
    said = await heard(fake.port, *Kind, token=TOKEN)
    assert (said.found, said.notes) == ((), (f"consul at http://127.0.0.1:{fake.port} {why}",))


async def test_one_that_is_not_there_is_one_sentence(free_port):
    (note,) = (await heard(free_port, *Kind)).notes
    assert (
        note
        == f"consul at http://127.0.0.1:{free_port} takes no connection: connection refused; is it running? CONSUL_HTTP_ADDR says where"
    )


async def test_https_is_tried_where_it_is_asked_for(launch):
    fake = launch("consulfake.py")
    address = f"https://127.0.0.1:{fake.port}"
    (note,) = (await ask_consul({"CONSUL_HTTP_ADDR": address}, list(Kind))).notes
    assert note == f"consul at {address} does not speak TLS as we do; is it http:// there?"
    (note,) = (await ask_consul({"CONSUL_HTTP_ADDR": address, "CONSUL_CACERT": "/nowhere"}, list(Kind))).notes
    assert note == "CONSUL_CACERT names no file of certificates that can be read"


# the token


async def test_the_token_travels_in_its_header_alone(launch, caplog):
    fake = launch("consulfake.py", "--token", TOKEN, "--service", "llama-rpc=127.0.0.2:50052")
    caplog.set_level(0)
    assert len((await heard(fake.port, token=TOKEN)).found) == 1
    assert fake.line() == f"GET /v1/health/service/llama-rpc?passing=1 token={TOKEN}"
    assert TOKEN not in caplog.text + repr(access(fake.port, TOKEN))


async def test_a_wrong_token_names_the_variable_and_a_missing_one_is_suspected(launch):
    fake = launch("consulfake.py", "--token", TOKEN)
    (wrong,) = (await heard(fake.port, token="wrong-one")).notes
    assert "refuses the token of CONSUL_HTTP_TOKEN" in wrong
    assert "wrong-one" not in wrong
    (missing,) = (await heard(fake.port)).notes
    assert missing.endswith("lists none of llama-rpc; it may want a token in CONSUL_HTTP_TOKEN")
    (odd,) = (await heard(fake.port, token="a\nb")).notes
    assert odd == "CONSUL_HTTP_TOKEN holds characters that no token has"


# watching


async def test_a_watch_tells_what_is_and_then_each_change(launch):
    fake = launch("consulfake.py", "--service", "llama-rpc=127.0.0.2:50052")
    async with asyncio.timeout(40), Consul(access(fake.port)) as consul:
        watching = consul.watch("llama-rpc")
        assert await anext(watching) == (A,)
        tell(fake, "add llama-rpc=127.0.0.3:50052")
        assert await anext(watching) == (A, B)
        tell(fake, "remove llama-rpc=127.0.0.2:50052")
        assert await anext(watching) == (B,)
        await watching.aclose()
    assert "&index=" not in fake.line()
    assert fake.line().endswith("&index=13&wait=30s token=")


def tell(fake, line: str) -> None:
    assert fake.process.stdin
    fake.process.stdin.write(line + "\n")
    fake.process.stdin.flush()


async def test_a_failing_agent_is_tried_again_after_a_growing_pause(launch):
    fake = launch("consulfake.py", "--mode", "shy", "--service", "llama-rpc=127.0.0.2:50052")
    rests: list[float] = []
    failures: list[BackendError] = []
    async with asyncio.timeout(40), Consul(access(fake.port), rest=no_rest(rests)) as consul:
        watching = consul.watch("llama-rpc", failed=failures.append)
        assert await anext(watching) == (A,)
        await watching.aclose()
    assert ["answered 500" in str(each) for each in failures] == [True, True]
    assert 0.5 <= rests[0] <= 1 <= rests[1] <= 2


async def test_an_index_that_falls_is_forgotten(launch):
    fake = launch("consulfake.py", "--mode", "backwards", "--service", "llama-rpc=127.0.0.2:50052")
    rests: list[float] = []
    async with asyncio.timeout(40), Consul(access(fake.port), rest=no_rest(rests)) as consul:
        watching = consul.watch("llama-rpc", wait=0.01)
        assert await anext(watching) == (A,)
        following = asyncio.create_task(anext(watching))
        asked = [(await asyncio.to_thread(fake.line)).partition("passing=1")[2] for _ in range(3)]
        following.cancel()
        await asyncio.wait([following])
    assert asked == [" token=", "&index=11&wait=0.01s token=", " token="]
    assert rests[1] > 0.9  # nothing blocks without an index, so we wait ourselves


# a real agent


async def test_a_real_agent_lists_watches_and_forgets_us(real_agent):
    service = Service("llama-rpc", A, ttl=10, meta=(("proto", "7.0.0"),))
    async with asyncio.timeout(30), Consul(access(real_agent)) as consul:
        watching = consul.watch("llama-rpc")
        assert await anext(watching) == ()
        await consul.register(service)
        await consul.keep_alive(service)
        assert await anext(watching) == (A,)
        assert (await heard(real_agent)).found == (Hint(A, Kind.RPC, "consul"),)
        await consul.deregister(service.id)
        assert await anext(watching) == ()
        await watching.aclose()
