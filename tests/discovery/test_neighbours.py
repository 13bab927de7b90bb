"""The table of neighbours: whose network card answered for an address, and when that tells a machine."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from synaptic.discovery.neighbours import cards, parse, read_neighbours
from synaptic.endpoint import Endpoint

HEAD = "IP address       HW type     Flags       HW address            Mask     Device\n"
TABLE = (
    HEAD
    + """192.168.1.10     0x1         0x2         02:00:00:00:00:0A     *        eth0
192.168.1.11     0x1         0x6         02:00:00:00:00:0b     *        eth0
192.168.1.12     0x1         0x0         00:00:00:00:00:00     *        eth0
192.168.1.13     0x1         0x0         02:00:00:00:00:0d     *        eth0
192.168.1.14     0x20        0x2         80:00:02:08:fe:80:00:00:00:00:00:00:f4:52:14:03:00:7b:cb:a1     *        ib0
192.168.1.15     0x1         0x2         ff:ff:ff:ff:ff:ff     *        eth0
192.168.1.16     0x1         0x2         00:00:00:00:00:00     *        eth0
192.168.1.254    0x1         0x2         02:00:00:00:00:fe     *        eth0
192.168.1.17     0x1         0x2         02:00:00"""
)
A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


def at(host: str, port: int = 50052) -> Endpoint:
    return Endpoint(host, port)


def test_only_a_card_that_answered_and_is_that_of_one_is_read():
    assert parse(TABLE) == {
        IPv4Address("192.168.1.10"): A,
        IPv4Address("192.168.1.11"): B,
        IPv4Address("192.168.1.254"): "02:00:00:00:00:fe",
    }


@pytest.mark.parametrize(
    "line", ["", "x", "1 2 3 4", "999.1.1.1 0x1 0x2 02:00:00:00:00:0a", "1.1.1.1 0x1 zz 02:00:00:00:00:0a", "1.1.1.1 0x1 0x2 0:0:0:0:0:1:2"]
)
def test_a_line_of_another_form_is_passed_over(line):
    assert parse(f"{HEAD}{line}\n10.0.0.1 0x1 0x2 {A} * eth0") == {IPv4Address("10.0.0.1"): A}


def test_there_may_be_no_table_and_it_may_be_endless(tmp_path):
    assert read_neighbours(tmp_path / "nothing") == {}
    table = tmp_path / "arp"
    table.write_text(HEAD + "".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255} 0x1 0x2 {A} * eth0\n" for n in range(60_000)))
    assert 1000 < len(read_neighbours(table)) < 30_000


def test_a_card_that_answers_for_several_hosts_tells_no_machine():
    table = {IPv4Address("10.0.0.1"): A, IPv4Address("10.0.0.2"): A, IPv4Address("10.0.0.3"): B}
    known = [at("10.0.0.1"), at("10.0.0.2"), at("10.0.0.3"), at("10.0.0.3", 50053), at("10.0.0.4"), at("name"), at("::1")]
    assert cards(known, table) == {at("10.0.0.1"): "", at("10.0.0.2"): "", at("10.0.0.3"): B, at("10.0.0.3", 50053): B}
