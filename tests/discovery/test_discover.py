"""A look around: exactly what is there is found, the rest is named, and nobody is harmed."""

from __future__ import annotations

import asyncio
import os
from ipaddress import IPv4Address, IPv4Network

import pytest

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.dllama import prove
from synaptic.discovery.discover import Discovery
from synaptic.discovery.identify import Identifier
from synaptic.discovery.limits import Limits
from synaptic.discovery.report import Report
from synaptic.discovery.targets import Area, Subnets, Targets, named_networks
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError

pytestmark = pytest.mark.anyio
QUICK = Limits(timeout=0.3)
LONG, SHORT = 20.0, 2.0  # seconds for one server: where all answer, on a busy machine, and where some do not
FOREIGN = {
    "silent": "silent",
    "too-slow": "silent",
    "dribble": "silent",
    "busy": "silent",
    "http": "http",
    "http-line": "http",
    "garbage": "garbage",
    "ansi": "garbage",
    "length-29": "garbage",
    "length-0": "garbage",
    "swapped": "garbage",
    "rst-in-reply": "reset",
    "half-close": "closed",
    "close": "closed",
    "many-devices": "implausible",
    "free-over-total": "implausible",
    "huge-memory": "implausible",
    "zero-memory": "implausible",
}


def subnet(text: str) -> Targets:
    return named_networks(Subnets.parse(text), [])


async def look(pool, targets: Targets, *ports: int, kind: Kind = Kind.RPC, within: float = LONG, **options) -> Report:
    return await Discovery(targets, dict.fromkeys(ports, kind), Identifier(pool, within=within).identify, limits=QUICK, **options).run()


async def test_a_hostile_network_is_sorted_exactly_and_nobody_is_harmed(pool, populate):
    there = populate(
        "good*12", "many*2", "slow-good*2", "legacy", "too-new", "half-full", "blackhole*5", *(f"{kind}*2" for kind in FOREIGN)
    )
    report = await look(pool, subnet("127.0.7.0/24"), there.port, within=SHORT)

    found = {backend.endpoint.host: backend.state for backend in report.found}
    assert found == dict.fromkeys(there.at("good", "many", "slow-good", "half-full"), State.IDLE) | dict.fromkeys(
        there.at("legacy", "too-new"), State.INCOMPATIBLE
    )
    assert {other.endpoint.host: other.reason for other in report.others} == {
        address: FOREIGN[kind] for address, kind in there.kinds.items() if kind in FOREIGN
    }
    assert {len(backend.devices) for backend in report.found if backend.endpoint.host in there.at("many")} == {4}
    network = report.networks[0]
    assert (report.scanned, network.hosts, network.up, network.silent) == (254, 254, 249, 5)

    ends = there.end()
    assert [end for end in ends if end[1] == "closed before reply"] == []
    assert all(how == "complete" for kind, how in ends if kind in ("good", "many", "slow-good"))
    assert max(sum(kind == one for kind, _ in ends) for one in there.kinds.values() if one != "good") <= 4  # two of each, twice each


async def test_fifty_that_never_answer_hide_nobody(pool, populate):
    there = populate("dribble*25", "good", "silent*25", "good")
    report = await look(pool, subnet("127.0.7.0/26"), there.port, within=SHORT)
    assert {backend.endpoint.host for backend in report.found} == there.at("good")
    assert {other.reason for other in report.others} == {"silent"}
    assert len(report.others) == 50


async def test_fifty_black_holes_hide_nobody(pool, populate):
    there = populate("blackhole*50", "good")
    report = await look(pool, subnet("127.0.7.0/26"), there.port)
    assert {backend.endpoint.host for backend in report.found} == there.at("good")
    assert (report.networks[0].silent, report.networks[0].up, report.others) == (50, 12, ())


async def test_a_network_without_workers_is_explained(pool, populate):
    there = populate("blackhole*3")
    report = await look(pool, subnet("127.0.7.0/28"), there.port)
    assert report.notes == (f"127.0.7.0/28: 11 hosts up, nothing on port {there.port}; 3 without an answer: off, or a firewall?",)


async def test_finds_are_told_at_once_with_where_they_come_from(pool, populate):
    there = populate("good", "silent")
    told: list[Backend] = []

    async def found(backend: Backend) -> None:
        told.append(backend)

    pool.add([there.endpoint("good")], "flag")
    report = await look(pool, subnet("127.0.7.0/30"), there.port, within=SHORT, found=found)
    assert [(backend.endpoint, backend.source) for backend in told] == [(there.endpoint("good"), "flag")]
    assert tuple(told) == report.found


async def test_progress_counts_addresses(pool):
    told: list[int] = []
    await look(pool, subnet("127.0.7.0/24"), 1, 2, 3, progressed=told.append)
    assert told == sorted(told)
    assert told[-1] == 254


async def test_a_worker_that_our_coordinator_holds_is_in_use_and_not_asked(pool, populate):
    there = populate("good*2")
    held = Endpoint("127.0.7.1", there.port)
    pool.hold([held], "llama3.1:70b")
    report = await look(pool, subnet("127.0.7.0/29"), there.port)
    assert {backend.endpoint.host: backend.state for backend in report.found} == {"127.0.7.1": State.IN_USE, "127.0.7.2": State.IDLE}
    assert len(there.end()) == 1


async def test_known_workers_are_looked_at_wherever_they_listen(pool, populate):
    here, elsewhere = populate("good"), populate("good", first="127.0.8.1")
    known = Endpoint("127.0.8.1", elsewhere.port)
    report = await look(pool, subnet("127.0.7.0/30"), here.port, known=[known, Endpoint("worker.invalid", 50052)])
    assert [backend.endpoint for backend in report.found] == [Endpoint("127.0.7.1", here.port), known]


async def test_a_server_on_every_address_of_this_machine_counts_once(pool, populate):
    there = populate("good*3")
    own = tuple(IPv4Address(f"127.0.7.{last}") for last in (2, 1))
    targets = Targets((Area(IPv4Network("127.0.7.0/29"), "eth0"),), own)
    report = await look(pool, targets, there.port)
    assert [backend.endpoint.host for backend in report.found] == ["127.0.7.2", "127.0.7.3"]
    assert [(other.endpoint.host, other.reason) for other in report.others] == [("127.0.7.1", "duplicate")]
    known = Endpoint("127.0.7.1", there.port)
    report = await look(pool, targets, there.port, known=[known])
    assert [backend.endpoint.host for backend in report.found] == ["127.0.7.1", "127.0.7.3"]


async def test_open_dllama_ports_are_listed_and_left_alone(pool, launch):
    workers = [launch("dllamafake.py", "--host", f"127.0.7.{last}") for last in (1, 2, 3)]
    ports = [worker.port for worker in workers]
    for _ in range(20):
        report = await look(pool, subnet("127.0.7.0/29"), *ports, kind=Kind.DLLAMA)
        assert [(backend.kind, backend.state) for backend in report.found] == [(Kind.DLLAMA, State.UNVERIFIED)] * 3
    await asyncio.gather(*(prove(backend.endpoint) for backend in report.found))
    assert [worker.line() for worker in workers] == ["session 1 complete"] * 3


@pytest.mark.parametrize("kind", [Kind.DLLAMA, None])
async def test_where_a_look_is_a_connection_no_dllama_worker_is_looked_at(pool, launch, populate, kind):
    worker, there = launch("dllamafake.py", "--host", "127.0.7.1"), populate("good")
    ports = {worker.port: Kind.DLLAMA} | ({} if kind else {there.port: Kind.RPC})
    report = await Discovery(subnet("127.0.7.0/30"), ports, Identifier(pool, within=LONG).identify, limits=QUICK, is_half_open=False).run()
    assert [backend.kind for backend in report.found] == [kind for kind in ports.values() if kind is Kind.RPC]
    assert report.notes == (f"not looked at: port {worker.port}; on this system a look ends a dllama worker. try: dllama add HOST",)
    await prove(Endpoint("127.0.7.1", worker.port))
    assert worker.line() == "session 1 complete"


async def test_verify_proves_dllama_workers_and_leaves_them_alive(pool, launch):
    workers = {f"127.0.7.{last}": launch("dllamafake.py", "--host", f"127.0.7.{last}") for last in (1, 2)}
    ports = dict.fromkeys((worker.port for worker in workers.values()), Kind.DLLAMA)
    identifier = Identifier(pool, verify=frozenset(ports), within=LONG)
    for number in (1, 2):
        report = await Discovery(subnet("127.0.7.0/29"), ports, identifier.identify, limits=QUICK).run()
        assert {backend.endpoint.host: backend.state for backend in report.found} == dict.fromkeys(workers, State.IDLE)
        assert {worker.line() for worker in workers.values()} == {f"session {number} complete"}


async def test_every_kind_in_one_sweep(pool, launch, populate):
    ollama, api = launch("httpfake.py", "--as", "ollama"), launch("httpfake.py", "--as", "llama-server")
    dllama, rpc = launch("dllamafake.py"), populate("good", first="127.0.0.1")
    ports = {ollama.port: Kind.OLLAMA, api.port: Kind.OPENAI, dllama.port: Kind.DLLAMA, rpc.port: Kind.RPC}
    report = await Discovery(subnet("127.0.0.1"), ports, Identifier(pool, within=LONG).identify, limits=QUICK).run()
    assert {backend.endpoint.port: backend.kind for backend in report.found} == ports
    assert {backend.source for backend in report.found} == {"scan"}


async def test_a_cancelled_look_around_leaves_no_socket_and_no_harm(pool, populate):
    there = populate("good*5", "silent*20", "blackhole*5", "too-slow*5")
    first = asyncio.Event()

    async def found(backend: Backend) -> None:
        first.set()

    await asyncio.to_thread(os.getpid)  # the loop's threads have their descriptors now
    before = len(os.listdir("/proc/self/fd"))
    looking = asyncio.create_task(look(pool, subnet("127.0.7.0/24"), there.port, within=SHORT, found=found))
    await first.wait()
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    await asyncio.gather(*pool._asking.values(), return_exceptions=True)  # a handshake under way is finished
    assert len(os.listdir("/proc/self/fd")) == before
    assert "closed before reply" not in [how for _, how in there.end()]


async def test_without_any_interface_there_is_no_usable_network(pool):
    with pytest.raises(BackendError, match="^no usable network: no interface is up") as caught:
        await look(pool, Targets(()), 50052)
    assert caught.value.hint
