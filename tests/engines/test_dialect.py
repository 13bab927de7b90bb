"""A request in OpenAI's words, and its tool calls in ours."""

from __future__ import annotations

import json

import pytest

from synaptic.engines.chunks import Answer
from synaptic.engines.dialect import LONGEST_CALL, ToolCalls, payload
from synaptic.engines.engine import Message, Request
from synaptic.errors import EngineError

CALL = {"function": {"name": "look_up", "arguments": {"word": "Wörker"}}}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def body(*messages: Message, **more) -> dict:
    return payload("m", Request(messages, "m", **more))


def test_options_of_ollamas_names_get_theirs_and_count_over_the_fields() -> None:
    sent = body(temperature=0.1, max_tokens=5, options={"temperature": 0.7, "num_predict": 9, "top_k": 3, "num_ctx": 4096, "stop": ["x"]})
    assert {key: sent[key] for key in ("temperature", "max_tokens", "top_k", "stop")} == {
        "temperature": 0.7,
        "max_tokens": 9,
        "top_k": 3,
        "stop": ["x"],
    }
    assert "num_ctx" not in sent
    assert "keep_alive" not in body(keep_alive="5m")


def test_formats() -> None:
    schema = {"type": "object"}
    assert body(format="json")["response_format"] == {"type": "json_object"}
    assert body(format=schema)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": schema},
    }
    assert "response_format" not in body()


def test_tools_pass_through_and_calls_and_their_answers_find_each_other() -> None:
    sent = body(
        Message("assistant", "", tool_calls=[CALL, {"id": "mine", "function": {"name": "other", "arguments": "{}"}}]),
        Message("tool", "a process", tool_name="look_up"),
        Message("tool", "?", tool_name="other"),
        tools=[TOOL],
    )
    assert sent["tools"] == [TOOL]
    first, second = sent["messages"][0]["tool_calls"]
    assert (first["id"], first["type"], json.loads(first["function"]["arguments"])) == ("call_0", "function", {"word": "Wörker"})
    assert (second["id"], second["function"]) == ("mine", {"name": "other", "arguments": "{}"})
    assert [message.get("tool_call_id") for message in sent["messages"]] == [None, "call_0", "mine"]


@pytest.mark.parametrize(("start", "kind"), [("iVBORw0KGgo", "png"), ("/9j/4AAQ", "jpeg"), ("R0lGODlh", "gif"), ("UklGRg", "webp")])
def test_images_stand_beside_the_text(start: str, kind: str) -> None:
    content = body(Message("user", "look", images=(start,)))["messages"][0]["content"]
    assert content == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{start}"}},
    ]


def event(delta: dict, finish: str | None = None) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"


def test_calls_that_a_stream_tears_apart_come_whole_before_the_end() -> None:
    answer = Answer()
    stream = [
        event(
            {
                "role": "assistant",
                "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "look_up", "arguments": ""}}],
            }
        ),
        event({"tool_calls": [{"index": 0, "function": {"arguments": '{"word": "Wö'}}]}),
        event({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "f", "arguments": "no json"}}]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": 'rker"}'}}]}),
        event({}, "tool_calls"),
    ]
    chunks = [chunk for data in stream for chunk in answer.take(data)]
    assert [chunk.tool_calls for chunk in chunks] == [
        [
            {"id": "a", "function": {"name": "look_up", "arguments": {"word": "Wörker"}}},
            {"id": "b", "function": {"name": "f", "arguments": "no json"}},
        ]
    ]
    assert answer.tokens == 4  # progress for a watch
    assert answer.last().finish_reason == "tool_calls"


def test_odd_pieces_are_passed_over_and_endless_ones_refused() -> None:
    calls = ToolCalls()
    calls.take([None, 7, {}, {"function": 7}, {"index": "x", "function": {}}, {"function": {"name": 7, "arguments": []}}])
    assert calls.all() is None
    assert not calls.take({"function": {}})
    piece = [{"index": 0, "function": {"arguments": "x" * (LONGEST_CALL // 2 + 1)}}]
    calls.take(piece)
    with pytest.raises(EngineError, match="without end"):
        calls.take(piece)
    with pytest.raises(EngineError, match="without end"):
        ToolCalls().take([{"index": number, "function": {"name": "f"}} for number in range(1000)])
