"""What the link says by zeroconf: hints, bounded, and never an address out in the world. Spoken on the loopback interface only."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from zeroconf import IPVersion, ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

from synaptic.cluster.backend import Kind
from synaptic.discovery.announcer import Announcer
from synaptic.discovery.hint import Hint
from synaptic.discovery.mdns import MOST_SERVICES, TYPES, ask_zeroconf, browse, spoken_on
from synaptic.discovery.targets import Interface, Subnets, named_networks, own_networks
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]  # each waits for its turn on the link

HERE = IPv4Address("127.0.0.1")
LOOPBACK = Interface("lo", HERE, IPv4Network("127.0.0.0/8"))
LAN = Interface("lan0", IPv4Address("10.77.0.1"), IPv4Network("10.77.0.0/24"))
DOCKER = Interface("docker0", IPv4Address("172.17.0.1"), IPv4Network("172.17.0.0/16"))
RPC, DLLAMA = "_llama-rpc._tcp.local.", "_dllama._tcp.local."
JUST_TOLD = 3.0  # seconds: what was told to all a moment ago is not repeated for one (RFC 6762, 6)
KINDS = frozenset(TYPES.values())


@pytest.fixture(autouse=True)
def alone():
    """There is one loopback interface: tests that run side by side would hear each other."""
    with (Path(tempfile.gettempdir()) / "synaptic-test-mdns.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


@pytest.fixture
async def announcer(alone):
    announcer = Announcer([HERE])
    await announcer.start()
    yield announcer
    await announcer.close()


@pytest.fixture
async def someone(alone):
    """Announces whatever it is given, without asking whether the name is taken."""
    zeroconf = AsyncZeroconf(interfaces=[str(HERE)], ip_version=IPVersion.V4Only)
    await zeroconf.zeroconf.async_wait_for_start()

    def say(name: str, port: int, *addresses: str, kind: str = RPC, text: bytes = b"") -> None:
        packed = [socket.inet_aton(address) for address in addresses]
        info = ServiceInfo(kind, f"plain.{kind}", port=port, addresses=packed, properties=text, server=f"h{port}.local.")
        info.name = f"{name}.{kind}"  # here nobody checks it
        zeroconf.zeroconf.registry.async_add(info)

    yield say
    zeroconf.zeroconf.registry.async_remove(zeroconf.zeroconf.registry.async_get_service_infos())
    await zeroconf.async_close()


async def test_what_is_announced_is_found_with_its_text(announcer):
    assert await announcer.announce("left box", RPC, Endpoint("127.0.0.1", 50052), {"proto": "7.0.0"}) == "left box"
    (service,) = (await browse([HERE], [RPC], within=JUST_TOLD)).services
    assert (service.name, service.kind, service.addresses, service.port) == ("left box", Kind.RPC, (HERE,), 50052)
    assert dict(service.text).items() >= {"txtvers": "1", "proto": "7.0.0"}.items()


async def test_a_name_that_is_taken_gets_a_number(announcer, someone):
    someone("box", 50052, "127.0.0.1")
    assert await announcer.announce("box", RPC, Endpoint("127.0.0.1", 50053), {}) == "box-2"


async def test_what_is_withdrawn_is_gone(announcer):
    await announcer.announce("box", RPC, Endpoint("127.0.0.1", 50052), {})
    await announcer.withdraw(Endpoint("127.0.0.1", 50052))
    assert announcer.told == ()
    assert (await browse([HERE], [RPC], within=JUST_TOLD)).services == ()


@pytest.mark.parametrize("host", ["10.9.9.9", "example.invalid", "127.0.0.2"])
async def test_only_an_address_that_was_given_is_announced(announcer, host):
    with pytest.raises(BackendError, match="at no address of this machine"):
        await announcer.announce("box", RPC, Endpoint(host, 50052), {})


async def test_too_much_text_is_refused(announcer):
    with pytest.raises(BackendError, match="1300 bytes is the most"):
        await announcer.announce("box", RPC, Endpoint("127.0.0.1", 50052), {f"k{number}": "x" * 200 for number in range(10)})


async def test_hostile_records_are_told_and_not_used(someone):
    someone("zero\u202eport", 0, "127.0.0.9")
    someone("control \x1b[31m", 50055, "127.0.0.9")
    someone("public", 50052, "93.184.216.34")
    someone("nowhere", 50053, "0.0.0.1", "224.0.0.9", "255.255.255.255")
    someone("good", 50054, "8.8.8.8", "10.5.5.5", "127.0.0.7")
    hints = await ask_zeroconf([LOOPBACK], KINDS, within=JUST_TOLD)
    assert hints.found == (Hint(Endpoint("127.0.0.7", 50054), Kind.RPC, "zeroconf"),)
    assert [(hint.endpoint, hint.name) for hint in (*hints.found, *hints.far)] == [
        (Endpoint("127.0.0.7", 50054), "good"),
        (Endpoint("93.184.216.34", 50052), "public"),
    ]
    (note,) = hints.notes
    assert note.startswith("zeroconf: not used, for they are at no address and port that could be used: ")
    assert "public" not in note
    assert "nowhere" in note
    assert not {"\x1b", "\u202e"} & set(note)


async def test_a_huge_text_is_cut_and_made_visible(someone):
    someone("box", 50052, "127.0.0.1", text=b"\x05a=\x1b[m" + b"\x04k=vv" * 200)
    (service,) = (await browse([HERE], [RPC], within=JUST_TOLD)).services
    assert len(service.text) == 64
    assert "\x1b" not in service.text[0][1]


async def test_of_a_thousand_services_some_are_left_out(someone):
    for number in range(1000):
        someone(f"box{number}", 50000 + number, "127.0.0.1")
    hints = await ask_zeroconf([LOOPBACK], {Kind.RPC}, within=3 * JUST_TOLD)
    assert 0 < len(hints.found) <= MOST_SERVICES
    assert any("beyond 256" in note for note in hints.notes)


async def test_a_claim_of_dllama_comes_first_for_what_it_would_end(someone):
    someone("a", 7000, "127.0.0.1")
    someone("b", 7000, "127.0.0.1", kind=DLLAMA)
    assert [hint.kind for hint in (await ask_zeroconf([LOOPBACK], KINDS, within=JUST_TOLD)).found] == [Kind.DLLAMA, Kind.RPC]


async def test_without_an_interface_it_is_gone_without_and_said():
    assert (await ask_zeroconf([], KINDS)).notes == ("went without zeroconf: no interface to use",)
    elsewhere = Interface("gone0", IPv4Address("192.0.2.1"), IPv4Network("192.0.2.0/24"))
    assert (await ask_zeroconf([elsewhere], KINDS)).notes == ("went without zeroconf: no interface to use",)


async def test_kinds_without_a_type_ask_nobody():
    assert await ask_zeroconf([], {Kind.OLLAMA}) == await ask_zeroconf([LOOPBACK], {Kind.OLLAMA}, within=0)


def test_only_the_networks_looked_through_are_spoken_on():
    every = [LOOPBACK, LAN, DOCKER]
    assert spoken_on(own_networks(every), every) == [LOOPBACK, LAN]
    assert spoken_on(own_networks(every, all_interfaces=True), every) == every
    assert spoken_on(named_networks(Subnets.parse("127.0.7.0/24"), every), every) == [LOOPBACK]
    assert spoken_on(named_networks(Subnets.parse("192.168.9.0/24"), every), every) == []


def test_the_guard_lets_multicast_go_nowhere_but_here():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(PermissionError, match=r"may not talk to 224\.0\.0\.251"):
        sock.sendto(b"", ("224.0.0.251", 5353))


def _can_enter() -> bool:
    words = [*ENTER, "sh", "-c", "ip link set lo up && ip link add here type veth peer name there"]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


ENTER = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child")
FAKES = Path(__file__).parents[1] / "fakes"


@pytest.mark.skipif(not _can_enter(), reason="no network namespace can be made here (needs unshare, ip and user namespaces)")
@pytest.mark.parametrize(("how", "sources"), [("stay", ["zeroconf"]), ("withdraw", ["scan"])])
def test_a_worker_of_another_machine_is_found_until_it_is_withdrawn(discover, how, sources):
    """Two machines and a cable."""
    program = os.environ.get("GGML_RPC_SERVER", "")
    there = f"{sys.executable} {FAKES / 'announced.py'} 10.77.0.2 50052 {how} {program}"
    setup = f"""
        ip link set lo up
        ip link add lan0 type veth peer name lan1
        mkfifo "$HOME/there" "$HOME/end"
        unshare --net sh -c 'echo up > "$HOME/there"; read go < "$HOME/end"; ip link set lo up; ip link set lan1 up
            ip address add 10.77.0.2/29 dev lan1; exec {there} > "$HOME/told"' &
        other=$!; read up < "$HOME/there"
        ip link set lan1 netns $other; ip address add 10.77.0.1/29 dev lan0; ip link set lan0 up
        echo go > "$HOME/end"
        until grep -qs ready "$HOME/told"; do :; done"""
    within = (*ENTER, "sh", "-ec", f'{setup}\nexec "$@"', "sh")
    done = discover("rpc", "discover", "--json", "--timeout", "5", within=within, SYNAPTIC_TEST_NAMESPACE="1")
    assert [(each["endpoint"], each["source"]) for each in done.json["found"]] == [("10.77.0.2:50052", source) for source in sources]
