from __future__ import annotations

import pytest

from synaptic.endpoint import Endpoint, parse_list
from synaptic.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.168.1.10", Endpoint("192.168.1.10", 50052)),
        ("192.168.1.10:7", Endpoint("192.168.1.10", 7)),
        (" worker-1.lan:65535 ", Endpoint("worker-1.lan", 65535)),
        ("::1", Endpoint("::1", 50052)),
        ("[::1]:9999", Endpoint("::1", 9999)),
        ("[fe80::1%eth0]:9999", Endpoint("fe80::1%eth0", 9999)),
    ],
)
def test_reads_what_people_write(text: str, expected: Endpoint) -> None:
    assert Endpoint.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":50052",
        "host:",
        "host:0",
        "host:65536",
        "host:abc",
        "host:50052junk",
        "-x:1",
        "a b:1",
        "h\x1b[2J:1",
        "[::1",
        "1:2:3",
        "ü.example:1",
        "host:-1",
        "host:+5",
        "host:5 0",
        "host:٣",
        "[::1]junk",
        "a" * 300,
        "[fe80::1%\x1b]:1",
    ],
)
def test_refuses_the_rest_with_a_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r"^not an? (address|port): ") as caught:
        Endpoint.parse(text)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("http://10.0.0.1:7/x", "not an address: http://10.0.0.1:7/x", "write host:port, such as 10.0.0.1:7"),
        ("a b", "not an address: a b", "write host:port, such as 192.168.1.10:50052"),
        ("", "not an address: (empty)", "write host:port, such as 192.168.1.10:50052"),
        ("a:99999", "not a port: 99999 in a:99999", "a port is a number from 1 to 65535"),
        ("a:", "not a port: (empty) in a:", "a port is a number from 1 to 65535"),
    ],
)
def test_says_what_was_wrong_and_what_to_write(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        Endpoint.parse(text)
    assert (str(caught.value), caught.value.hint) == (message, hint)


def test_writes_what_it_reads() -> None:
    for text in ("10.0.0.1:50052", "[::1]:50052"):
        assert str(Endpoint.parse(text)) == text


def test_a_list_keeps_the_good_once_and_names_each_bad_one() -> None:
    good, bad = parse_list("a:1, b ,,a:1,:5,-x:1,[::1]:50052,ü.example:1\n")
    assert list(map(str, good)) == ["a:1", "b:50052", "[::1]:50052"]
    assert len(bad) == 3
    assert "-x:1" in bad[1]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.3.2.1", "::1", "0:0:0:0:0:0:0:1"])
def test_this_machine_is_known_by_its_own_addresses(host: str) -> None:
    assert Endpoint(host, 1).is_loopback


@pytest.mark.parametrize(
    "host", ["127.0.0.1.nip.io", "127.example.org", "localhost.example.org", "10.0.0.1", "0.0.0.0", "::", "::2", "fe80::1%lo"]
)
def test_whatever_could_be_another_machine_is_not_taken_for_this_one(host: str) -> None:
    assert not Endpoint(host, 1).is_loopback


def test_endpoints_sort_and_hash() -> None:
    assert sorted({Endpoint("b", 1), Endpoint("a", 2), Endpoint("a", 1), Endpoint("a", 1)}) == [
        Endpoint("a", 1),
        Endpoint("a", 2),
        Endpoint("b", 1),
    ]
