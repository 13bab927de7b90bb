"""What a server may write into its stream, and what we make of it."""

from __future__ import annotations

import contextlib
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic.engines.chunks import Answer
from synaptic.engines.engine import Chunk, Timings, Usage
from synaptic.errors import EngineError


def events(*documents: object) -> bytes:
    return b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents)


def delta(reason: str | None = None, **fields: object) -> dict[str, object]:
    return {"choices": [{"delta": fields, "finish_reason": reason}]}


def read(*documents: object) -> tuple[str, Chunk]:
    """By a clock that moves half a second per piece."""
    ticks = itertools.count()
    now = next(ticks)
    answer = Answer(clock=lambda: now / 2)
    text = ""
    for document in documents:
        now = next(ticks)
        text += "".join(chunk.text for chunk in answer.take(events(document)))
    return text, answer.last()


def test_it_is_measured_on_our_clock() -> None:
    text, last = read(delta(role="assistant", content=None), delta(content="a"), delta(content="b"), delta("stop"))
    assert text == "ab"
    assert last == Chunk(finish_reason="stop", usage=Usage(None, 2), timings=Timings(1000.0, 2.0, 2000.0))


def test_the_servers_own_numbers_come_first() -> None:
    numbers = {"usage": {"prompt_tokens": 15, "completion_tokens": 42, "prompt_tokens_details": {"cached_tokens": 14}}}
    timings = {"timings": {"predicted_n": 42, "predicted_per_second": 979.97036}}
    _, last = read(delta(content="a"), delta("stop"), {"choices": [], **numbers, **timings})
    assert last.usage == Usage(15, 42, 14)
    assert last.timings
    assert last.timings.tokens_per_second == 979.97


def test_dllama_api_writes_an_empty_reason_into_every_piece() -> None:
    text, last = read(delta("", content="a"), delta("", content="b"), {"choices": [{"finish_reason": "stop", "index": 0}]})
    assert (text, last.finish_reason) == ("ab", "stop")


def test_text_that_no_file_could_hold_is_replaced() -> None:
    assert read(delta(content="a\ud83db"), delta("stop"))[0] == "a?b"


@pytest.mark.parametrize("speed", [float("nan"), float("inf"), -1, 0, True, "fast", None, [1]])
def test_a_speed_that_is_none_is_left_out(speed: object) -> None:
    _, last = read(delta(content="a"), {**delta("stop"), "timings": {"predicted_n": 9, "predicted_per_second": speed}})
    assert last.timings
    assert last.timings.tokens_per_second is None


@pytest.mark.parametrize("count", [-1, True, 1.5, "9", None])
def test_a_count_that_is_none_is_left_out(count: object) -> None:
    _, last = read(delta(content="a"), {**delta("stop"), "usage": {"prompt_tokens": count, "completion_tokens": count}})
    assert last.usage == Usage(None, 1)


def test_what_came_before_an_error_in_the_same_packet_is_kept() -> None:
    chunks = Answer().take(events(delta(content="a"), {"error": {"message": "out of memory"}}))
    assert next(chunks).text == "a"
    with pytest.raises(EngineError, match="the answer ended early: out of memory"):
        next(chunks)


def test_nesting_without_end_is_one_bad_event() -> None:
    answer = Answer()
    assert [*answer.take(b"data: " + b"[" * 100_000 + b"\n\n" + events(delta(content="a")))] == [Chunk(text="a")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)
FIELDS = {"choices": st.lists(st.fixed_dictionaries({}, optional={"delta": JSON, "finish_reason": JSON}) | JSON, max_size=2) | JSON}
EVENTS = st.fixed_dictionaries({}, optional=FIELDS | {"usage": JSON, "timings": JSON, "error": JSON}) | JSON


@given(st.lists(EVENTS, max_size=6))
def test_no_document_is_a_surprise(documents: list[object]) -> None:
    answer = Answer()
    with contextlib.suppress(EngineError):
        assert all(isinstance(chunk.text, str) for chunk in answer.take(events(*documents)))
        answer.last()
