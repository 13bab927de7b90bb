"""Server-sent events, however the network cuts them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic.engines.sse import MIB, Events
from synaptic.errors import EngineError


def read(*chunks: bytes, limit: int = MIB) -> list[str]:
    events = Events(limit)
    return [*itertools.chain.from_iterable(map(events.feed, chunks)), *events.finish()]


def bytewise(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        (b"data: a\r\rdata: b\r\r", ["a", "b"]),
        (b"data: a\r\n\rdata: b\n\r\n", ["a", "b"]),
        (b"data:a\n\ndata:  b\n\n", ["a", " b"]),
        (b"data: one\ndata: two\n\n", ["one\ntwo"]),
        (b"data\ndata\n\n", ["\n"]),
        (b": ping\n\nevent: x\nid: 7\nretry: 1\ndata: a\n: ping\n\n", ["a"]),
        (b"database: no\nevent: x\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"data: [DONE]", ["[DONE]"]),
        (b"data: a\n\ndata: [DONE]\n", ["a", "[DONE]"]),
        ("data: ü€😀\u2028\x85\x0b\n\n".encode(), ["ü€😀\u2028\x85\x0b"]),
        (b"data: \xff\xc3\n\n", ["\ufffd\ufffd"]),
        (b"", []),
        (b"\n\n\n", []),
    ],
)
def test_a_stream_is_its_events(stream: bytes, expected: list[str]) -> None:
    assert read(stream) == expected
    assert read(*bytewise(stream)) == expected


FIELDS = ["data: ", "data:", "data", ": ping", "event: x", "data: ü€😀", "data: {}", "", "", "data: a\u2028b"]
LINES = st.tuples(st.sampled_from(FIELDS).map(str.encode), st.sampled_from([b"\n", b"\r", b"\r\n"])).map(b"".join)
STREAMS = st.lists(LINES, max_size=30).map(b"".join)


@given(STREAMS, st.data())
def test_any_cut_gives_the_same_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[start:end] for start, end in itertools.pairwise([0, *cuts, len(stream)])]
    assert read(*chunks) == read(stream)


def test_an_event_is_given_as_soon_as_it_is_whole() -> None:
    events = Events()
    assert events.feed(b"data: a\n") == []
    assert events.feed(b"\n") == ["a"]


@pytest.mark.parametrize("endless", [b"data: " + b"x" * 100, b"x" * 100, b": " + b"x" * 100, b"data: x\n" * 50])
def test_an_event_without_end_is_refused(endless: bytes) -> None:
    for chunks in ([endless], bytewise(endless)):
        with pytest.raises(EngineError, match="an event of more than 64 bytes"):
            read(*chunks, limit=64)


def test_many_events_are_not_one_large_one() -> None:
    assert len(read(b"data: x\n\n" * 1000, limit=64)) == 1000
    assert read(b": ping\n" * 1000 + b"data: x\n\n", limit=64) == ["x"]


def test_the_limit_is_a_mebibyte() -> None:
    assert len(read(b"data: " + b"x" * (MIB - 6) + b"\n\n")[0]) == MIB - 6
    with pytest.raises(EngineError, match="the server sent an event of more than 1 MiB"):
        read(b"data: " + b"x" * MIB)
