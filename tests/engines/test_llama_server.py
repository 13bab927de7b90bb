"""An answer of llama-server whose tokens are told: what is taken from an event as it is, is what parsing finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic.engines.chunks import Answer
from synaptic.engines.engine import Chunk
from synaptic.engines.llama_server import _ONE_TOKEN, _Chat
from synaptic.errors import EngineError

RECORDED = (Path(__file__).parents[1] / "data" / "llamacpp" / "chat-with-tokens.sse").read_bytes()
EVENTS = [event + b"\n\n" for event in RECORDED.split(b"\n\n") if event]
TOKEN = json.loads(EVENTS[2][6:])


def read(answer: Answer, events: list[bytes]) -> list[Chunk]:
    return [chunk for event in events for chunk in answer.take(event)] + [answer.last()]


def both(events: list[bytes]) -> tuple[list[Chunk], list[Chunk]]:
    return read(Answer(clock=lambda: 1.0), events), read(_Chat(clock=lambda: 1.0), events)


def with_token(text: str, token: int, predicted: int) -> bytes:
    """As llama-server writes it: without spaces, letters beyond ASCII as they are."""
    event = json.loads(json.dumps(TOKEN))
    event["choices"][0]["delta"]["content"] = text
    named = event["choices"][0]["logprobs"]["content"][0]
    for each in (named, named["top_probs"][0]):
        each |= {"id": token, "token": text, "bytes": list(text.encode())}
    event["timings"]["predicted_n"] = predicted
    return b"data: " + json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def test_a_recorded_answer_reads_the_same_either_way() -> None:
    parsed, taken = both(EVENTS)
    assert taken == parsed
    assert sum(_ONE_TOKEN.fullmatch(event[6:-2].decode()) is not None for event in EVENTS) == 12  # all of its tokens


@given(st.lists(st.tuples(st.text(min_size=1), st.integers(0, 10**6), st.integers(0, 3)), min_size=1, max_size=8))
def test_any_text_reads_the_same_either_way(pieces: list[tuple[str, int, int]]) -> None:
    texts = [(text.encode(errors="replace").decode(), token, more) for text, token, more in pieces]
    events, count = [], 1
    for text, token, more in texts:
        count += more
        events.append(with_token(text, token, count))
        assert _ONE_TOKEN.fullmatch(events[-1][6:-2].decode())
    parsed, taken = both([EVENTS[1], *events, *EVENTS[-3:]])
    assert taken == parsed


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"content":"e"', b'"content":""'),  # nothing to show
        (b'"content":"e"', b'"content":"\\ud800"'),  # which nothing could write
        (b'"content":"e"', b'"content":"\\q"'),
        (b'"content":"e"', b'"content":"\\u12"'),
        (b'"content":"e"', b'"content":"\x01"'),
        (b'"index":0,', b'"index":0,"more":1,'),
        (b',"top_probs"', b',"top_probs":[],"x"'),
        (b'"id":70,', b'"id":-70,'),
        (b'"predicted_n":2', b'"predicted_n":-2'),
        (b'"predicted_n":2', b'"predicted_n":2.0'),
        (b'"model":"demo"', b'"model":"\\"timings\\":{\\"predicted_n\\":9,\\"x\\":0}}"'),
        (b'"timings":{', b'"error":{"message":"it broke"},"timings":{'),
        (b"}\n\n", b"\n\n"),
    ],
)
def test_an_event_of_another_form_is_parsed(before: bytes, after: bytes) -> None:
    assert before in EVENTS[2]
    events = [*EVENTS[:2], EVENTS[2].replace(before, after), *EVENTS[3:]]
    said: list[list[Chunk] | str] = []
    for answer in (Answer(clock=lambda: 1.0), _Chat(clock=lambda: 1.0)):
        try:
            said.append(read(answer, events))
        except EngineError as error:
            said.append(str(error))
    assert said[0] == said[1]
