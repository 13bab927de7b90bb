"""Where a look around goes, and where it does not."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

import pytest

from synaptic.discovery.interfaces import read_interfaces
from synaptic.discovery.targets import Interface, Subnets, named_networks, numbers, own_networks
from synaptic.errors import UsageError

LO = ("lo", "127.0.0.1/8")


def interfaces(*pairs: tuple[str, str], down: tuple[str, ...] = ()) -> list[Interface]:
    return [Interface(name, IPv4Interface(text).ip, IPv4Interface(text).network, name not in down) for name, text in pairs]


def areas(*pairs: tuple[str, str], **options) -> list[str]:
    return [str(area) for area in own_networks(interfaces(*pairs), **options).areas]


def test_this_machine_comes_first_then_its_networks_with_their_real_prefixes():
    assert areas(("eth0", "192.168.1.7/24"), LO, ("wlan0", "10.1.2.3/26")) == ["127.0.0.1", "192.168.1.0/24", "10.1.2.0/26"]


VIRTUAL = "docker0 br-1f2e veth12 virbr0 tun0 tap3 utun4 wg0 tailscale0 cni0 flannel.1 cali99 vmnet8 lxcbr0 lxdbr0 zt7 podman1"


@pytest.mark.parametrize("name", VIRTUAL.split())
def test_containers_bridges_and_tunnels_are_left_out_and_named(name):
    targets = own_networks(interfaces(LO, ("eth0", "192.168.1.7/24"), (name, "172.17.0.1/24")))
    assert [str(area) for area in targets.areas] == ["127.0.0.1", "192.168.1.0/24"]
    assert targets.left_out == (f"left out: {name} (--all-interfaces looks there too)",)
    assert IPv4Address("172.17.0.1") in targets.own
    assert areas(LO, (name, "172.17.0.1/24"), all_interfaces=True) == ["127.0.0.1", "172.17.0.0/24"]


@pytest.mark.parametrize("name", ["eth0", "enp3s0", "wlp2s0", "br0", "bond0", "en0", "eno1.20"])
def test_real_interfaces_stay(name):
    assert areas((name, "192.168.1.7/24")) == ["192.168.1.0/24"]


def test_interfaces_that_are_down_do_not_count():
    targets = own_networks(interfaces(LO, ("eth0", "192.168.1.7/24"), down=("lo", "eth0")))
    assert (targets.areas, targets.own, targets.left_out) == ((), (), ())


@pytest.mark.parametrize(
    ("network", "hosts"),
    [
        ("10.0.0.4/30", ["10.0.0.5", "10.0.0.6"]),
        ("10.0.0.4/31", ["10.0.0.4", "10.0.0.5"]),
        ("10.0.0.4/32", ["10.0.0.4"]),
        ("10.0.0.4", ["10.0.0.4"]),
    ],
)
def test_the_smallest_networks(network, hosts):
    targets = named_networks(Subnets.parse(network), interfaces(("eth0", "10.0.0.5/24")))
    assert [str(IPv4Address(number)) for number in numbers(targets.areas)] == hosts
    assert targets.size == len(hosts)
    assert targets.question is None


def test_the_network_itself_and_its_broadcast_address_are_no_hosts():
    hosts = list(numbers(named_networks(Subnets.parse("127.0.7.0/24"), []).areas))
    assert (len(hosts), IPv4Address(hosts[0]), IPv4Address(hosts[-1])) == (254, IPv4Address("127.0.7.1"), IPv4Address("127.0.7.254"))


def test_two_interfaces_in_one_network_look_once():
    assert areas(("eth0", "192.168.1.7/24"), ("wlan0", "192.168.1.8/24")) == ["192.168.1.0/24"]
    assert areas(("eth0", "192.168.1.7/26"), ("wlan0", "192.168.1.200/24")) == ["192.168.1.0/24"]


def test_a_large_network_of_ours_is_looked_through_near_this_machine():
    targets = own_networks(interfaces(("eth0", "10.20.33.7/16")))
    assert [str(area) for area in targets.areas] == ["10.20.32.0/22"]
    assert targets.left_out == ("eth0: of 10.20.0.0/16 only 10.20.32.0/22 was looked through (--subnet names more)",)
    assert targets.question is None


def test_a_public_network_is_never_looked_through_unasked():
    targets = own_networks(interfaces(("eth0", "8.8.8.8/24")))
    assert [str(area) for area in targets.areas] == ["8.8.8.8"]
    assert "8.8.8.0/24 is public" in targets.left_out[0]


@pytest.mark.parametrize(
    ("network", "question"),
    [
        ("127.0.7.0/24", None),
        ("192.168.1.0/24", None),
        ("192.168.1.64/26", None),
        ("192.168.2.0/24", "192.168.2.0/24 is no network of this machine. look there?"),
        ("8.8.8.0/24", "8.8.8.0/24 is public. look there?"),
        ("127.4.0.0/21", "127.4.0.0/21 holds 2048 addresses. look there?"),
        ("10.0.0.0/16", "10.0.0.0/16 is no network of this machine and holds 65536 addresses. look there?"),
        ("10.0.0.1,8.8.8.8", "10.0.0.1/32 is no network of this machine; 8.8.8.8/32 is public. look there?"),
    ],
)
def test_what_is_not_ours_or_large_is_asked_about(network, question):
    assert named_networks(Subnets.parse(network), interfaces(LO, ("eth0", "192.168.1.7/24"))).question == question


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("10.0.0.0/15", "10.0.0.0/15 holds 131072 addresses"),
        ("localnet", "not a network: localnet"),
        ("", "not a network: (empty)"),
        ("10.0.0.0/33", "not a network: 10.0.0.0/33"),
        ("\x1b[2J", "not a network: ^[[2J"),
        ("fd00::/64", "fd00::/64: an IPv6 network is too large to look through"),
        ("224.0.0.0/24", "224.0.0.0/24: no machine has such an address"),
        ("0.0.0.0/24", "0.0.0.0/24: no machine has such an address"),
        ("255.255.255.255", "255.255.255.255/32: no machine has such an address"),
    ],
)
def test_what_no_one_should_look_through_is_refused(text, sentence):
    with pytest.raises(UsageError) as caught:
        named_networks(Subnets.parse(text), [])
    assert str(caught.value) == sentence
    assert caught.value.hint


def test_networks_within_others_are_looked_through_once():
    targets = named_networks(Subnets.parse("127.0.7.0/24, 127.0.7.9, 127.0.8.0/30,127.0.7.0/24"), [])
    assert [str(area) for area in targets.areas] == ["127.0.7.0/24", "127.0.8.0/30"]


def test_what_this_machine_says_of_itself_has_127_0_0_1_in_it():
    assert any(each.address == IPv4Address("127.0.0.1") and each.is_up for each in read_interfaces())
