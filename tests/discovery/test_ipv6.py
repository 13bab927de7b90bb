"""IPv6: by address, by name and by zeroconf; and never a worker for llama-server, which does not speak it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path

import pytest
from namespaces import ENTER, in_namespaces
from program import run_main

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.dllama import prove
from synaptic.cluster.handshake import Foreign, shake
from synaptic.cluster.http import identify
from synaptic.cluster.pool import Pool
from synaptic.discovery.discover import Discovery
from synaptic.discovery.identify import Identifier
from synaptic.discovery.interfaces import Link, own_addresses
from synaptic.discovery.near import nearest
from synaptic.discovery.rounds import Rounds, look, steadily, twins
from synaptic.discovery.sweep import IS_HALF_OPEN, host_of
from synaptic.discovery.targets import Interface, Subnets, named_networks
from synaptic.endpoint import Endpoint
from synaptic.events import Bus


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


pytestmark = [pytest.mark.anyio, pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")]
half_open = pytest.mark.skipif(not IS_HALF_OPEN, reason="a server notices a look here")
FAKES = Path(__file__).parents[1] / "fakes"
HOST = "::1"
NOT_SPOKEN = "answers by IPv6, which llama-server does not speak: name its IPv4 address"


@pytest.fixture
def closed() -> Iterator[Endpoint]:
    with socket.socket(socket.AF_INET6) as bound:
        bound.bind((HOST, 0))
        yield Endpoint(HOST, bound.getsockname()[1])


# by address


async def test_a_worker_is_proved_but_never_ready(launch):
    """A plan takes the ready ones: an address that llama-server cannot read is never among them."""
    pool = Pool(Bus())
    endpoint = Endpoint(HOST, launch("rpcfake.py", "--host", HOST).port)
    pool.add([endpoint], "configured")
    (answer,) = await pool.check(within=20)
    assert (answer.state, answer.version, answer.detail) == (State.INCOMPATIBLE, "7.0.0", NOT_SPOKEN)
    assert answer.free_bytes > 0
    assert pool.ready() == []


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("fe80::1", "an address that begins with fe80 needs its interface, such as %eth0 at its end"),
        ("fe80::1%nosuch0", "no address is known by its name"),
    ],
)
async def test_an_address_without_its_interface_is_named(monkeypatch, host, told):
    monkeypatch.setenv("SYNAPTIC_TEST_NAMESPACE", "1")  # nothing can be sent there: it is no whole address
    endpoint = Endpoint(host, 50052)
    answer = await shake(endpoint)
    assert (answer.detail, answer.state) == (told, State.UNREACHABLE)
    assert await identify(endpoint) == Foreign(endpoint, "closed", told)
    assert await prove(endpoint) == Foreign(endpoint, "closed", told)


async def test_where_nothing_listens_it_is_said(closed):
    told = "refused the connection: no server listens there"
    assert (await shake(closed)).detail == told
    assert await identify(closed) == Foreign(closed, "closed", told)


async def test_servers_that_may_speak_it_are_used(launch):
    ollama = Endpoint(HOST, launch("httpfake.py", "--as", "ollama", "--host", HOST).port)
    answer = await identify(ollama, within=20)
    assert isinstance(answer, Backend)
    assert (answer.endpoint, answer.kind, answer.state) == (ollama, Kind.OLLAMA, State.IDLE)
    worker = launch("dllamafake.py", "--host", HOST)
    proof = await prove(Endpoint(HOST, worker.port), within=20)
    assert isinstance(proof, Backend)
    assert (proof.kind, proof.state) == (Kind.DLLAMA, State.IDLE)
    assert worker.line() == "session 1 complete"


# looks


@half_open
async def test_a_look_is_not_noticed(launch, closed):
    worker = launch("rpcfake.py", "--host", HOST)
    endpoint, nowhere = Endpoint(HOST, worker.port), Endpoint("fe80::1%nosuch0", 50052)
    hosts = {each: host_of(each.host) for each in (endpoint, closed, nowhere)}
    for _ in range(20):
        assert await look(hosts) == {
            endpoint: "",
            closed: "its machine answers, no worker listens there",
            nowhere: "this machine has no way to it",
        }
    await shake(endpoint, within=20)
    assert worker.line().startswith("ended 1 ")  # the first connection it saw is the handshake


@half_open
async def test_health_rounds_look_at_it(launch):
    async def at_once(seconds: float) -> None:
        pass

    worker = launch("rpcfake.py", "--host", HOST)
    endpoint, pool = Endpoint(HOST, worker.port), Pool(Bus())
    pool.add([endpoint], "configured")
    await pool.check(within=20)
    rounds = Rounds(pool, look=look, clock=steadily, sleep=at_once)
    await rounds.turn()
    record = pool.record(endpoint)
    assert (record.state, record.detail) == (State.INCOMPATIBLE, NOT_SPOKEN)
    worker.process.kill()
    worker.process.wait()
    for _ in range(3):
        await rounds.turn()
    record = pool.record(endpoint)
    assert (record.state, record.detail) == (State.UNREACHABLE, "its machine answers, no worker listens there")


def test_one_machine_by_two_families_is_one():
    four, six, other = Endpoint("127.0.0.1", 50052), Endpoint(HOST, 50052), Endpoint("fd00::1", 50052)
    assert twins({each: host_of(each.host) for each in (four, six, other)}, own_addresses()) == {six: four}


async def test_what_is_heard_of_is_found_beside_ipv4(launch):
    four = Endpoint("127.0.7.1", launch("httpfake.py", "--as", "ollama", "--host", "127.0.7.1").port)
    six = Endpoint(HOST, launch("httpfake.py", "--as", "vllm", "--host", HOST).port)

    async def heard() -> list[Endpoint]:
        return [six]

    targets = named_networks(Subnets.parse("127.0.7.0/30"), [])
    ports = {four.port: Kind.OLLAMA, six.port: Kind.OPENAI}
    report = await Discovery(targets, ports, Identifier(Pool(Bus()), within=20).identify, heard=heard).run()
    assert [each.endpoint for each in report.found] == [four, six]


# which of several addresses is used

LAN = Interface("lan0", IPv4Address("10.77.0.1"), IPv4Network("10.77.0.0/24"))
LO = Link("lo", 1, (IPv6Network("::1/128"),))
LAN6 = Link("lan0", 2, (IPv6Network("fe80::/64"), IPv6Network("2001:db8:5::/64")))
WLAN6 = Link("wlan0", 3, (IPv6Network("fe80::/64"),))


@pytest.mark.parametrize(
    ("addresses", "links", "used"),
    [
        ("fd00::2 10.77.0.2 10.9.0.2", [LO, LAN6], "10.77.0.2"),
        ("fe80::2%2 fd00::2", [LO, LAN6], "fd00::2"),
        ("fe80::2%2", [LO, LAN6, WLAN6], "fe80::2%lan0"),
        ("fe80::2", [LO, LAN6], "fe80::2%lan0"),
        ("fe80::2", [LO, LAN6, WLAN6], None),
        ("fe80::2%9", [LO, LAN6], None),
        ("fe80::2%2", [], None),
        ("2001:db8:5::2", [LAN6], "2001:db8:5::2"),
        ("2606:4700::1111 8.8.8.8", [LAN6], None),
        (":: ff02::1 ::ffff:8.8.8.8 2002:808:808::1 2001:0:4136:e378::1 255.255.255.255", [LAN6], None),
        ("::1", [LO], "::1"),
    ],
)
def test_the_nearest_address_is_used_and_none_out_in_the_world(addresses, links, used):
    found = nearest([ip_address(each) for each in addresses.split()], [LAN], links)
    assert (str(found) if found else None) == used
    assert not isinstance(found, IPv6Address) or Endpoint.parse(f"[{found}]:1").host == used


# between two machines

ANNOUNCE = """
import asyncio, ipaddress, socket, sys
from zeroconf import IPVersion, ServiceInfo
from zeroconf.asyncio import AsyncZeroconf
async def main():
    zeroconf = AsyncZeroconf(interfaces=[socket.if_nametoindex("lan1")], ip_version=IPVersion.V6Only)
    for kind, port in (("_llama-head._tcp.local.", 8123), ("_llama-rpc._tcp.local.", 50052)):
        at = {"addresses": [ipaddress.IPv6Address("fe80::2").packed], "port": port, "server": "there.local."}
        await (await zeroconf.async_register_service(ServiceInfo(kind, f"there.{kind}", **at)))
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
TWO_MACHINES = f"""
    ip link set lo up
    ip link add lan0 type veth peer name lan1
    mkfifo "$HOME/there" "$HOME/go"
    unshare --net sh -c 'echo up > "$HOME/there"; read go < "$HOME/go"
        ip link set lo up; ip link set lan1 addrgenmode none; ip link set lan1 up; ip address add fe80::2/64 dev lan1 nodad
        {sys.executable} {FAKES}/httpfake.py --as llama-server --host :: --port 8123 > "$HOME/web" &
        {sys.executable} {FAKES}/rpcfake.py --host :: --port 50052 > "$HOME/rpc" &
        until grep -qs port "$HOME/web" && grep -qs port "$HOME/rpc"; do :; done
        exec {sys.executable} -c "$ANNOUNCE" > "$HOME/told"' &
    other=$!; read up < "$HOME/there"
    ip link set lan1 netns $other; ip link set lan0 addrgenmode none; ip link set lan0 up
    ip address add 10.77.0.1/30 dev lan0; ip address add fe80::1/64 dev lan0 nodad
    echo go > "$HOME/go"
    until grep -qs ready "$HOME/told"; do :; done"""


@in_namespaces
def test_a_machine_that_speaks_nothing_else_is_found_by_zeroconf(own_home):
    within = (*ENTER, "sh", "-ec", f'{TWO_MACHINES}\nexec "$@"', "sh")
    done = run_main("discover", "--json", "--timeout", "5", cwd=own_home, within=within, SYNAPTIC_TEST_NAMESPACE="1", ANNOUNCE=ANNOUNCE)
    found = {each["endpoint"]: (each["kind"], each["state"], each["source"], each["detail"]) for each in done.json["found"]}
    assert found == {
        "[fe80::2%lan0]:8123": ("openai", "idle", "zeroconf", "llama-server · 1 model (demo-q4_0.gguf)"),
        "[fe80::2%lan0]:50052": ("rpc", "incompatible", "zeroconf", NOT_SPOKEN),
    }
    assert done.json["added"] == 1, "the server; a worker that cannot be used is only shown"


BY_NAME = """
import asyncio
from synaptic.cluster.handshake import shake
from synaptic.cluster.http import identify
from synaptic.discovery.rounds import address_of
from synaptic.endpoint import Endpoint
async def main():
    rpc, web = Endpoint("six.invalid", 50052), Endpoint("six.invalid", 8123)
    print(await address_of(rpc), (await shake(rpc, within=20)).detail, (await identify(web, within=20)).detail, sep="|")
asyncio.run(main())
"""


@in_namespaces
def test_a_name_that_leads_to_ipv6_alone_is_understood(own_home):
    setup = f"""
        ip link set lo up; ip address add fd77::1/128 dev lo nodad; mkdir "$HOME/etc"
        echo 'fd77::1 six.invalid' > "$HOME/etc/hosts"; mount --bind "$HOME/etc/hosts" /etc/hosts
        {sys.executable} {FAKES}/rpcfake.py --host fd77::1 --port 50052 > "$HOME/rpc" &
        {sys.executable} {FAKES}/httpfake.py --as ollama --host fd77::1 --port 8123 > "$HOME/web" &
        until grep -qs port "$HOME/rpc" && grep -qs port "$HOME/web"; do :; done"""
    environment = os.environ | {"SYNAPTIC_TEST_NAMESPACE": "1"}
    command = [*ENTER, "sh", "-ec", f'{setup}\nexec "$@"', "sh", sys.executable, "-c", BY_NAME]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FAKES.parents[1], env=environment, check=False)
    assert done.stderr == ""
    host, rpc, web = done.stdout.strip().split("|")
    assert (host, rpc) == ("fd77::1", NOT_SPOKEN)
    assert web.startswith("Ollama 0.13.5")
