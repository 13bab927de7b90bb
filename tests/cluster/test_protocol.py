"""Byte for byte what an rpc-server is asked and what it may answer."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic.cluster import protocol
from synaptic.cluster.backend import Device
from synaptic.cluster.protocol import ProtocolError, Version, payload_of

# recorded from a ggml-rpc-server of protocol 7.0.0
HELLO_REPLY = bytes.fromhex("1c00000000000000 07000000") + bytes(24)
COUNT_REPLY = bytes.fromhex("0400000000000000 01000000")
MEMORY_REPLY = bytes.fromhex("1000000000000000 00d098e205000000 00d098e205000000")


def test_the_questions_are_those_of_llama_cpp():
    assert protocol.HELLO.request == bytes.fromhex("0e 1800000000000000") + bytes(24)
    assert protocol.OLD_HELLO.request == bytes.fromhex("0e 0000000000000000")
    assert protocol.DEVICE_COUNT.request == bytes.fromhex("0f 0000000000000000")
    assert protocol.memory_of(3).request == bytes.fromhex("0b 0400000000000000 03000000")
    assert protocol.MEMORY_OF_ONLY_DEVICE.request == bytes.fromhex("0b 0000000000000000")


def test_recorded_answers_are_understood():
    assert protocol.parse_hello(payload_of(HELLO_REPLY, 28)) == Version(7, 0, 0)
    assert protocol.parse_device_count(payload_of(COUNT_REPLY, 4)) == 1
    assert protocol.parse_memory(payload_of(MEMORY_REPLY, 16), 0) == Device("RPC0", 25276502016, 25276502016)


@pytest.mark.parametrize("size", range(len(HELLO_REPLY)))
def test_an_answer_may_come_in_pieces(size):
    assert payload_of(HELLO_REPLY[:size], 28) is None


@pytest.mark.parametrize("size", range(1, 5))
def test_http_is_recognised_however_it_is_cut(size):
    assert payload_of(b"HTTP/1.1 200 OK\r\n"[:size], 28) is None
    with pytest.raises(ProtocolError, match=r"^HTTP server \(nginx/1\.2\)$") as caught:
        payload_of(b"HTTP/1.1 200 OK\r\nserver:  nginx/1.2\r\n\r\n", 28)
    assert caught.value.reason == "http"


@pytest.mark.parametrize(
    ("received", "words"),
    [
        (b"\x1b" + HELLO_REPLY[1:-1], "answered 27 bytes where an rpc-server answers 28"),
        (b"\x1d" + HELLO_REPLY[1:] + b"\0", "answered 29 bytes where an rpc-server answers 28"),
        (bytes(8), "answered 0 bytes where an rpc-server answers 28"),
        (b"\0\0\0\0\0\0\0\x1c" + bytes(28), "answered something else"),
        (HELLO_REPLY + b"!", "sent more than the 28 bytes"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "answered something else: SSH-2.0-OpenSSH_9.6"),
        (b"+", r"answered something else: \+"),
    ],
)
def test_any_other_answer_is_garbage_and_says_what_it_was(received, words):
    with pytest.raises(ProtocolError, match=words) as caught:
        payload_of(received, 28)
    assert caught.value.reason == "garbage"


@given(st.binary(min_size=37, max_size=4096))
def test_foreign_words_never_reach_the_terminal_raw(received):
    with pytest.raises(ProtocolError) as caught:
        payload_of(received, 28)
    said = str(caught.value)
    assert len(said) < 120
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", said)


@pytest.mark.parametrize("count", [0, 65, 2**32 - 1])
def test_no_machine_has_so_many_devices(count):
    with pytest.raises(ProtocolError, match=f"claims {count} devices"):
        protocol.parse_device_count(count.to_bytes(4, "little"))


@pytest.mark.parametrize(("free", "total"), [(0, 0), (2**63, 2**20), (2, 1), (0, 2**50), (2**64 - 1, 2**64 - 1)])
def test_no_machine_has_such_memory(free, total):
    with pytest.raises(ProtocolError) as caught:
        protocol.parse_memory(free.to_bytes(8, "little") + total.to_bytes(8, "little"), 2)
    assert caught.value.reason == "implausible"
    assert str(caught.value) == f"claims {free} of {total} bytes free on device 2"


def test_a_full_device_is_plausible():
    assert protocol.parse_memory(bytes(8) + (1 << 30).to_bytes(8, "little"), 1) == Device("RPC1", 0, 1 << 30)


def test_a_client_accepts_its_own_major_and_no_newer_minor():
    mine = Version.parse("7.1.2")
    assert [mine.accepts(Version(*server)) for server in [(7, 1, 2), (7, 0, 0), (7, 1, 9), (7, 2, 0), (6, 1, 2), (8, 0, 0)]] == [
        *[True] * 3,
        *[False] * 3,
    ]
    assert str(mine) == "7.1.2"


@pytest.mark.parametrize("text", ["", "7", "7.0", "7.0.0.0", "a.b.c"])
def test_what_is_no_version_is_refused(text):
    with pytest.raises(ValueError):
        Version.parse(text)
