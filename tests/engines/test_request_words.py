"""What a request can ask for beyond a chat, in the words of each API."""

from __future__ import annotations

import pytest

from synaptic.engines.chunks import Completion
from synaptic.engines.dialect import payload
from synaptic.engines.engine import Message, Request
from synaptic.engines.ollama import _payload

HELLO = (Message("user", "hello"),)
TOOL = {"type": "function", "function": {"name": "look_up"}}


def test_a_plain_prompt_has_no_messages() -> None:
    request = Request((), "demo", prompt="A worker is")
    assert payload("demo", request)["prompt"] == "A worker is"
    assert "messages" not in payload("demo", request)
    assert (_payload("demo", request)["prompt"], _payload("demo", request)["raw"]) == ("A worker is", True)


def test_which_tool_is_only_said_where_there_are_some() -> None:
    assert payload("demo", Request(HELLO, "demo", tools=[TOOL], tool_choice="required"))["tool_choice"] == "required"
    assert "tool_choice" not in payload("demo", Request(HELLO, "demo", tool_choice="required"))


@pytest.mark.parametrize(
    ("think", "openai", "ollama"),
    [
        (False, {"chat_template_kwargs": {"enable_thinking": False}}, {"think": False}),
        ("high", {"reasoning_effort": "high"}, {"think": "high"}),
    ],
)
def test_how_hard_it_thinks(think: bool | str, openai: dict, ollama: dict) -> None:
    request = Request(HELLO, "demo", think=think)
    assert openai.items() <= payload("demo", request).items()
    assert ollama.items() <= _payload("demo", request).items()


def test_a_tools_answer_names_its_own_call() -> None:
    calls = [{"id": f"call_{number}", "function": {"name": "look_up", "arguments": {}}} for number in (1, 2)]
    said = (Message("assistant", "", tool_calls=calls), Message("tool", "first", tool_name="look_up", tool_call_id="call_1"))
    assert payload("demo", Request(said, "demo"))["messages"][1]["tool_call_id"] == "call_1"


@pytest.mark.parametrize(
    "more", [{"tools": [TOOL]}, {"format": "json"}, {"think": True}, {"messages": (Message("user", "what?", images=("iVBORw0KGgo=",)),)}]
)
def test_an_answer_that_hangs_on_more_than_words_cannot_be_resumed_by_them(more: dict) -> None:
    assert Request(HELLO, "demo").is_plain
    assert not Request(**({"messages": HELLO, "model": "demo"} | more)).is_plain


def test_the_stream_of_completions_is_read() -> None:
    answer = Completion()
    events = (b'{"choices": [{"text": " a process", "finish_reason": null}]}', b'{"choices": [{"text": "", "finish_reason": "stop"}]}')
    data = b"".join(b"data: " + event + b"\n\n" for event in events)
    assert [chunk.text for chunk in answer.take(data)] == [" a process"]
    assert answer.last().finish_reason == "stop"
