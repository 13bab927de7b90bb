"""A client of vLLM: answers with their tokens, what they continue, and what it says when it will not answer."""

from __future__ import annotations

import dataclasses
import json

import pytest

from synaptic.engines.chunks import Answer
from synaptic.engines.engine import Chunk, Message, Request, Usage
from synaptic.engines.refusal import broken, refusal
from synaptic.engines.vllm import Vllm
from synaptic.errors import EngineError, RefusedError

pytestmark = pytest.mark.anyio
QUESTION = Request((Message("user", "What is a worker?"),), "tiny", temperature=0.0)
ANSWER = "A worker lends its memory and compute to whoever asks."
WORDS = 10


def client(url: str, *, key: str | None = None, model: str = "tiny") -> Vllm:
    return Vllm(url, model=model, key=key, stall_seconds=20.0, first_token_seconds=20.0, remedy="try: nodes health")


async def whole(url: str, request: Request = QUESTION) -> list[Chunk]:
    return [chunk async for chunk in client(url).generate(request)]


async def until_it_breaks(url: str) -> list[Chunk]:
    chunks: list[Chunk] = []

    async def listen() -> None:
        async for chunk in client(url).generate(QUESTION):
            chunks.append(chunk)

    with pytest.raises(EngineError, match="ended early"):
        await listen()
    return chunks


async def test_an_answer_comes_with_its_tokens_and_ends_with_its_reason(vllmfake) -> None:
    *pieces, last = await whole(vllmfake())
    assert "".join(chunk.text for chunk in pieces) == ANSWER
    assert [chunk.ids for chunk in pieces] == [(100 + number,) for number in range(WORDS)]
    assert (last.finish_reason, last.usage) == ("stop", Usage(9, WORDS))


async def test_it_stops_where_it_was_told_to(vllmfake) -> None:
    *pieces, last = await whole(vllmfake(), dataclasses.replace(QUESTION, max_tokens=3))
    assert ("".join(chunk.text for chunk in pieces), last.finish_reason) == ("A worker lends", "length")


async def test_an_answer_that_broke_off_goes_on_at_another_after_its_last_token(vllmfake) -> None:
    written = await until_it_breaks(vllmfake("--cut-after", 4))
    rest = [chunk async for chunk in client(vllmfake()).resume(QUESTION, written)]
    assert "".join(chunk.text for chunk in [*written, *rest]) == ANSWER
    assert rest[-1].finish_reason == "stop"


async def test_an_answer_that_was_given_up_is_not_whole(vllmfake) -> None:
    written = await until_it_breaks(vllmfake("--cut-after", 4, "--abort"))
    assert "".join(chunk.text for chunk in written) == "A worker lends its"


async def test_the_rest_of_an_answer_keeps_to_its_limit(vllmfake) -> None:
    """Without one it is the context's: /v1/completions writes 16 tokens where nothing is said."""
    written, other = await until_it_breaks(vllmfake("--cut-after", 4)), vllmfake()
    limited = [chunk async for chunk in client(other).resume(dataclasses.replace(QUESTION, max_tokens=6), written)]
    assert "".join(chunk.text for chunk in limited) == " memory and"
    long = vllmfake("--answer", " ".join(map(str, range(60))))
    assert len(await whole(long, dataclasses.replace(QUESTION, prompt="count"))) == 61


async def test_tokens_of_another_vocabulary_are_not_continued(vllmfake) -> None:
    written = await until_it_breaks(vllmfake("--cut-after", 4))
    with pytest.raises(EngineError, match="has another vocabulary"):
        _ = [chunk async for chunk in client(vllmfake("--vocabulary", 3)).resume(QUESTION, written)]


async def test_reasoning_is_not_continued(vllmfake) -> None:
    with pytest.raises(EngineError, match="a part of it was reasoning"):
        _ = [chunk async for chunk in client(vllmfake()).resume(QUESTION, [Chunk(reasoning="hm", ids=(1,))])]


async def test_older_versions_tell_no_tokens(vllmfake) -> None:
    assert {chunk.ids for chunk in await whole(vllmfake("--blind"))} == {()}


async def test_a_character_of_several_tokens_has_them_all(vllmfake) -> None:
    """Recorded: the first bytes of a character come as an empty text."""
    from synaptic.engines.vllm import _Answer

    answer = _Answer()
    pieces = [("", 118), ("", 119), ("é", 120), ("S", 54)]
    events = [{"choices": [{"index": 0, "delta": {"content": text}, "token_ids": [token]}]} for text, token in pieces]
    data = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events)
    assert [(chunk.text, chunk.ids, chunk.tokens) for chunk in answer.take(data)] == [("é", (118, 119, 120), 3), ("S", (54,), 1)]


def test_reasoning_has_two_names() -> None:
    for name in ("reasoning_content", "reasoning"):
        event = {"choices": [{"index": 0, "delta": {name: "hm"}, "finish_reason": None}]}
        [chunk] = Answer().take(b"data: " + json.dumps(event).encode() + b"\n\n")
        assert chunk.reasoning == "hm"


@pytest.mark.parametrize(
    ("options", "kind", "sentence", "hint"),
    [
        (["--refuse", "busy"], EngineError, "takes no more requests now: The engine is currently busy", "try again in a moment"),
        (["--refuse", "context"], RefusedError, "does not fit the context of 512 tokens", "try: clear"),
        (["--refuse", "tokens"], RefusedError, "more tokens were asked for than the model can write", "config set max_tokens"),
        (["--model", "other"], RefusedError, "has no model tiny", "try: model list"),
        (["--key", "sesame-7"], EngineError, "wants an API key", "--key-env NAME"),
    ],
)
async def test_each_refusal_has_its_own_sentence(vllmfake, options: list[str], kind: type, sentence: str, hint: str) -> None:
    with pytest.raises(kind, match=sentence) as caught:
        await whole(vllmfake(*options))
    assert hint in (caught.value.hint or "")
    assert type(caught.value) is kind


async def test_a_wrong_key_is_not_repeated(vllmfake) -> None:
    with pytest.raises(EngineError, match="does not accept the key of its variable") as caught:
        _ = [chunk async for chunk in client(vllmfake("--key", "sesame-7"), key="wrong-8").generate(QUESTION)]
    assert "wrong-8" not in f"{caught.value} {caught.value.hint} {caught.value.details}"


OLDER = {"object": "error", "type": "BadRequestError", "param": None, "code": 400}  # 0.8.5: no "error" around it


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            {**OLDER, "message": "This model's maximum context length is 512 tokens. However, you requested 700 tokens in the messages, "
             "Please reduce the length of the messages."},
            "the prompt does not fit the context of 512 tokens",
        ),
        (
            {"error": {"message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
                       "code": "context_length_exceeded"}},
            "the prompt does not fit the context of 8192 tokens",
        ),
        (
            {**OLDER, "message": "'max_tokens' or 'max_completion_tokens' is too large: 600. This model's maximum context length is 512 "
             "tokens and your request has 9 input tokens (600 > 512 - 9)."},
            "more tokens were asked for",
        ),
    ],
)  # fmt: skip
def test_the_words_of_other_versions(body: dict[str, object], sentence: str) -> None:
    said = refusal("http://10.0.0.5:8000", "m", 400, json.dumps(body).encode(), "try: nodes health")
    assert isinstance(said, RefusedError)
    assert str(said).startswith(sentence)


def test_too_many_requests() -> None:
    said = refusal(
        "http://10.0.0.5:8000", "m", 429, b'{"error": {"message": "Rate limit reached", "type": "rate_limit"}}', "try: nodes health"
    )
    assert str(said) == "http://10.0.0.5:8000 takes no more requests now: Rate limit reached"
    assert not isinstance(said, RefusedError)  # another server may


def test_a_server_that_loads_is_not_one_that_is_full() -> None:
    loading = b'{"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}'
    assert "still loading its model" in str(refusal("http://10.0.0.5:8000", "m", 503, loading, "try: nodes health"))


def test_an_engine_that_dies_in_the_middle_of_an_answer() -> None:
    error = {"message": "EngineCore encountered an issue. See stack trace (above) for the root cause.", "type": "InternalServerError"}
    assert str(broken(error)).startswith("the answer ended early: EngineCore encountered an issue")
