"""What clients say, read; and answers in the words of each API, held against what the real Ollama said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synaptic.engines.engine import Chunk, Message, Usage
from synaptic.errors import UsageError
from synaptic.web.gateway import from_ollama, from_openai, to_ollama, to_openai
from synaptic.web.gateway.asked import Deed
from synaptic.web.gateway.body import Body
from synaptic.web.gateway.refusal import NotNowError, UnknownModelError, refusal_of
from synaptic.web.gateway.shape import End, Whole

RECORDED = Path(__file__).parents[1] / "data" / "ollama"
HELLO = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
PIXEL = "iVBORw0KGgo="
END = End("stop", Usage(15, 42, 14), total=1.5, load=0.5, prompt=0.25, writing=0.75)
CALL = {"id": "call_1", "function": {"name": "look_up", "arguments": {"word": "worker"}}}


def test_ollama_streams_unless_told_otherwise_and_openai_only_when_told() -> None:
    assert from_ollama.chat(Body(HELLO)).stream
    assert not from_ollama.chat(Body(HELLO | {"stream": False})).stream
    assert not from_openai.chat(Body(HELLO)).stream
    assert from_openai.chat(Body(HELLO | {"stream": True})).stream


def test_what_ollama_calls_options_reaches_the_request() -> None:
    options = {"temperature": 0, "seed": 7, "num_predict": 5, "num_ctx": 512.0, "top_k": 3, "stop": ["\n"], "no_such_option": 1}
    asked = from_ollama.chat(Body(HELLO | {"options": options, "format": "json", "keep_alive": 300, "think": False, "tools": [TOOL]}))
    like = asked.like
    assert (like.temperature, like.seed, like.max_tokens, like.context) == (0, 7, 5, 512)
    assert like.options == {"top_k": 3, "stop": ["\n"]}
    assert (like.format, like.keep_alive, like.think, like.tools) == ("json", "300s", False, [TOOL])


def test_what_openai_calls_them_does_too() -> None:
    asked = from_openai.chat(
        Body(
            HELLO
            | {"temperature": 0.5, "seed": 7, "max_completion_tokens": 5, "stop": "\n", "top_p": 0.9}
            | {"tools": [TOOL], "tool_choice": "required", "stream_options": {"include_usage": True}, "user": "me"}
            | {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}}
        )
    )
    like = asked.like
    assert (like.temperature, like.seed, like.max_tokens, like.format) == (0.5, 7, 5, {"type": "object"})
    assert like.options == {"stop": ["\n"], "top_p": 0.9}
    assert (like.tools, like.tool_choice, asked.has_usage) == ([TOOL], "required", True)


def test_tool_choice_none_leaves_the_tools_out() -> None:
    assert from_openai.chat(Body(HELLO | {"tools": [TOOL], "tool_choice": "none"})).like.tools is None


def test_a_conversation_with_tools_keeps_their_ids() -> None:
    called = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"word": "worker"}'}}
    said = [{"role": "developer", "content": "be brief"}, {"role": "assistant", "tool_calls": [called]}]
    answer = {"role": "tool", "tool_call_id": "call_1", "content": "it lends"}
    asked = from_openai.chat(Body({"model": "demo", "messages": [*said, answer]}))
    assert asked.messages == (
        Message("system", "be brief"),
        Message("assistant", "", tool_calls=[CALL]),
        Message("tool", "it lends", tool_name="look_up", tool_call_id="call_1"),
    )


def test_pictures_come_as_base64_in_both() -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    openai = {"model": "demo", "messages": [{"role": "user", "content": [{"type": "text", "text": "what?"}, part]}]}
    ollama = {"model": "demo", "messages": [{"role": "user", "content": "what?", "images": [PIXEL]}]}
    assert from_openai.chat(Body(openai)).messages == from_ollama.chat(Body(ollama)).messages == (Message("user", "what?", (PIXEL,)),)


def test_a_prompt_with_a_system_is_a_chat_and_a_raw_one_is_none() -> None:
    asked = from_ollama.generate(Body({"model": "demo", "prompt": "hello", "system": "be brief"}))
    assert asked.messages == (Message("system", "be brief"), Message("user", "hello"))
    assert from_ollama.generate(Body({"model": "demo", "prompt": "hello", "raw": True})).like.prompt == "hello"
    assert from_openai.completion(Body({"model": "demo", "prompt": ["hello"]})).like.prompt == "hello"


def test_no_prompt_loads_the_model_and_keep_alive_0_unloads_it() -> None:
    assert from_ollama.generate(Body({"model": "demo"})).deed is Deed.LOAD
    assert from_ollama.chat(Body({"model": "demo", "messages": [], "keep_alive": 0})).deed is Deed.UNLOAD


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "model is required"),
        ({"model": 5}, "model must be text"),
        ({"model": "demo", "messages": "hello"}, "messages must be a list"),
        ({"model": "demo", "messages": ["hello"]}, r"messages\[0\] must be an object"),
        ({"model": "demo", "messages": [{"role": "king", "content": "hello"}]}, r"messages\[0\].role must be one of"),
        ({"model": "demo", "messages": [{"role": "user", "images": ["?"]}]}, "no base64"),
        (HELLO | {"stream": "yes"}, "stream must be true or false"),
        (HELLO | {"format": "yaml"}, "format must be"),
        (HELLO | {"options": {"temperature": "hot"}}, "options.temperature must be a number"),
        (HELLO | {"options": {"seed": 0.5}}, "options.seed must be a whole number"),
        (HELLO | {"tools": [{"type": "function"}]}, r"tools\[0\].function.name is required"),
        (HELLO | {"keep_alive": [5]}, "keep_alive must be"),
    ],
)
def test_bad_input_is_named(body: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        from_ollama.chat(Body(body))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"messages": []}, "messages is required"),
        ({"n": 2}, "n must be 1"),
        ({"logprobs": True}, "logprobs is not supported"),
        ({"max_tokens": "many"}, "max_tokens must be"),
        ({"response_format": {"type": "xml"}}, "response_format.type must be"),
        ({"tool_choice": "maybe"}, "tool_choice must be"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}]}]}, "itself"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "must be text or image_url"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "["}}]}]}, "JSON object"),
    ],
)
def test_what_openai_has_and_we_have_not_is_refused(more: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        from_openai.chat(Body(HELLO | more))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({}, "prompt must be one text"),
        ({"prompt": ["one", "two"]}, "prompt must be one text"),
        ({"prompt": "one", "best_of": 2}, "best_of and echo are not supported"),
        ({"prompt": "one", "echo": True}, "best_of and echo are not supported"),
        ({"prompt": "one", "max_completion_tokens": 0}, "max_completion_tokens must be a whole number from 1 to"),
    ],
)
def test_so_is_what_a_completion_has_more(more: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        from_openai.completion(Body({"model": "demo"} | more))


PARTS, TIMES = {"top_p": (0, 1), "min_p": (0, 1)}, {"repeat_penalty": (0, 100)}
OPENAI = PARTS | TIMES | {"temperature": (0, 5), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2)}
OLLAMA = (
    PARTS | TIMES | {"temperature": (0, 100), "typical_p": (0, 1), "tfs_z": (0, 100), "mirostat_tau": (0, 100), "mirostat_eta": (0, 100)}
)
OLLAMA |= {"presence_penalty": (-10, 10), "frequency_penalty": (-10, 10)}
SPANS = [(name, *span, False) for name, span in OPENAI.items()] + [(name, *span, True) for name, span in OLLAMA.items()]


@pytest.mark.parametrize(("name", "low", "high", "is_ollama"), SPANS)
def test_a_number_may_be_as_large_as_its_api_says(name: str, low: int, high: int, is_ollama: bool) -> None:
    def read(value: float) -> object:
        given = {"options": {name: value}} if is_ollama else {name: value}
        like = (from_ollama if is_ollama else from_openai).chat(Body(HELLO | given)).like
        return like.temperature if name == "temperature" else like.options[name]

    assert (read(low), read(high)) == (low, high)
    for beyond in (low - 0.5, high + 0.5):
        with pytest.raises(UsageError, match=f"{name} must be a number from {low} to {high}"):
            read(beyond)


def test_less_than_nothing_means_that_it_was_not_said() -> None:
    for like in (
        from_ollama.chat(Body(HELLO | {"options": {"seed": -1, "num_predict": -1}})).like,
        from_ollama.chat(Body(HELLO | {"options": {"num_predict": 0}})).like,
        from_openai.chat(Body(HELLO | {"seed": -1, "max_tokens": -1})).like,
        from_openai.chat(Body(HELLO | {"max_tokens": 0})).like,
    ):
        assert (like.seed, like.max_tokens) == (None, None)
    assert from_openai.chat(Body(HELLO | {"seed": 0, "max_tokens": 1})).like.seed == 0
    assert from_ollama.chat(Body(HELLO | {"options": {"seed": 0}})).like.seed == 0


@pytest.mark.parametrize(("wanted", "form"), [({"type": "json_object"}, "json"), ({"type": "text"}, None), ({}, None)])
def test_openai_asks_for_json_by_its_type(wanted: dict, form: str | None) -> None:
    assert from_openai.chat(Body(HELLO | {"response_format": wanted})).like.format == form


def recorded(name: str) -> list[dict]:
    return [json.loads(line) for line in (RECORDED / name).read_text().splitlines()]


def form(value: object) -> object:
    """The names and types of a document."""
    if isinstance(value, dict):
        return {name: form(each) for name, each in value.items()}
    return [form(each) for each in value[:1]] if isinstance(value, list) else type(value).__name__


def test_a_stream_has_the_form_of_the_real_ollama() -> None:
    shape = to_ollama.ToChat("demo")
    piece, end = json.loads(shape.piece(Chunk("A"))), json.loads(shape.end(END))
    first, *_, last = recorded("chat.ndjson")
    assert form(piece) == form(first)
    assert form(end) == form(last)
    assert list(end) == list(last)
    assert (end["total_duration"], end["eval_count"], end["prompt_eval_duration"]) == (1_500_000_000, 42, 250_000_000)


def test_generate_differs_in_where_the_text_is() -> None:
    shape = to_ollama.ToGenerate("demo")
    assert json.loads(shape.piece(Chunk("A")))["response"] == "A"
    assert json.loads(shape.end(END))["done_reason"] == "stop"


def test_thinking_and_tool_calls_reach_both_kinds_of_clients() -> None:
    ollama = to_ollama.ToChat("demo")
    openai = to_openai.ToChat("demo", has_usage=False)
    thought, called = Chunk(reasoning="hm"), Chunk(tool_calls=[CALL])
    assert json.loads(ollama.piece(thought))["message"] == {"role": "assistant", "content": "", "thinking": "hm"}
    assert json.loads(ollama.piece(called))["message"]["tool_calls"] == [CALL]
    assert events(openai.piece(thought))[-1]["choices"][0]["delta"] == {"reasoning_content": "hm"}
    (written,) = events(openai.piece(called))[-1]["choices"][0]["delta"]["tool_calls"]
    assert written == {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"word": "worker"}'}}
    assert events(openai.end(END))[0]["choices"][0]["finish_reason"] == "tool_calls"


def test_ollamas_clients_get_all_that_a_piece_says() -> None:
    chat, generate = to_ollama.ToChat("demo"), to_ollama.ToGenerate("demo")
    both = Chunk("A", reasoning="hm")
    assert json.loads(chat.piece(both))["message"] == {"role": "assistant", "content": "A", "thinking": "hm"}
    said = json.loads(generate.piece(both))
    assert (said["response"], said["thinking"]) == ("A", "hm")
    written = json.loads(chat.piece(Chunk(tool_calls=[{"function": {"name": "look_up", "arguments": "worker"}}, "no call"])))
    assert written["message"]["tool_calls"] == [{"function": {"name": "look_up", "arguments": {"text": "worker"}}}, "no call"]


def test_an_openai_stream_begins_with_the_role_and_ends_with_done() -> None:
    shape = to_openai.ToChat("demo", has_usage=True)
    written = shape.piece(Chunk("A")) + shape.piece(Chunk(" worker")) + shape.end(END)
    first, *pieces, finish, usage = events(written)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [piece["choices"][0]["delta"] for piece in pieces] == [{"content": "A"}, {"content": " worker"}]
    assert finish["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert usage["choices"] == []
    assert usage["usage"] == {
        "prompt_tokens": 15,
        "completion_tokens": 42,
        "total_tokens": 57,
        "prompt_tokens_details": {"cached_tokens": 14},
    }
    assert written.endswith(b"data: [DONE]\n\n")
    assert len({event["id"] for event in events(written)}) == 1


def test_a_completion_streams_its_text_and_no_role() -> None:
    shape = to_openai.ToCompletion("demo", has_usage=False)
    assert shape.piece(Chunk(reasoning="hm")) == b""
    said = events(shape.piece(Chunk("A")) + shape.piece(Chunk(" worker")) + shape.end(END))
    assert [each["choices"] for each in said] == [
        [{"index": 0, "text": "A", "logprobs": None, "finish_reason": None}],
        [{"index": 0, "text": " worker", "logprobs": None, "finish_reason": None}],
        [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}],
    ]
    assert {each["object"] for each in said} == {"text_completion"}


def test_whole_answers_are_one_document() -> None:
    whole = Whole("A worker.", "hm", [CALL])
    ollama = to_ollama.ToChat("demo").whole(whole, END)
    assert ollama["message"] == {"role": "assistant", "content": "A worker.", "thinking": "hm", "tool_calls": [CALL]}
    openai = to_openai.ToChat("demo", has_usage=True).whole(whole, END)
    assert openai["object"] == "chat.completion"
    assert openai["choices"][0]["message"]["content"] == "A worker."
    assert openai["choices"][0]["finish_reason"] == "tool_calls"
    only = Whole("A worker.", "", [])
    plain = {"role": "assistant", "content": "A worker."}
    assert to_ollama.ToChat("demo").whole(only, END)["message"] == plain
    assert to_openai.ToChat("demo", has_usage=True).whole(only, END)["choices"][0]["message"] == plain
    text = to_openai.ToCompletion("demo", has_usage=True).whole(only, END)
    assert (text["object"], text["choices"][0]["text"]) == ("text_completion", "A worker.")


def test_errors_have_the_shape_of_their_api() -> None:
    missing = refusal_of(UnknownModelError("model 'nope' not found"))
    assert missing.in_shape_of("/api/chat") == recorded("not_found.json")[0]
    assert missing.in_shape_of("/v1/chat/completions")["error"]["code"] == "model_not_found"
    busy = refusal_of(NotNowError("demo is loading", 12.4))
    assert (busy.status, busy.retry_after) == (503, 12)


def test_an_error_does_not_tell_where_the_user_lives(tmp_path: Path) -> None:
    assert refusal_of(UsageError(f"{tmp_path}/x.gguf is broken"), tmp_path).message == "~/x.gguf is broken"


def events(written: bytes) -> list[dict]:
    lines = [line.removeprefix("data: ") for line in written.decode().split("\n\n") if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]
