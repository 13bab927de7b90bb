"""The official `openai` client, unchanged, at the gateway in front of the real engines."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
from faq import entries
from gateways import Served, making_vectors, serving, session_at
from tooled import tooled

from synaptic.session import Session
from synaptic.web.gateway.face import GatewayFace
from synaptic.web.gateway.turns import Turns

pytestmark = pytest.mark.anyio
QUESTION = "What is a worker?"
ANSWER = next(entry.answer for entry in entries() if QUESTION in entry.questions)
ASKED = {"model": "demo", "messages": [{"role": "user", "content": QUESTION}], "temperature": 0}
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "look a word up",
        "parameters": {"type": "object", "properties": {"word": {"enum": ["worker", "slot"]}}, "required": ["word"]},
    },
}
SCHEMA = {"type": "object", "properties": {"fits": {"type": "boolean"}}, "required": ["fits"], "additionalProperties": False}
KEY = "a-key-of-sixteen-characters"


@contextlib.asynccontextmanager
async def client_of(url: str, key: str = "none", retries: int = 0) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=retries) as client:
        yield client


@pytest.fixture
async def alone(tmp_path: Path, llama_server: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path, LLAMA_SERVER=str(llama_server)) as served:
        yield served


@pytest.mark.live
async def test_it_chats_whole_and_in_pieces(alone: Served) -> None:
    async with client_of(alone.url) as client:
        whole = await client.chat.completions.create(**ASKED)
        stream = await client.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True})
        pieces = [piece async for piece in stream]
    choice = whole.choices[0]
    assert (choice.message.content, choice.message.role, choice.finish_reason) == (ANSWER, "assistant", "stop")
    assert "".join(each.choices[0].delta.content or "" for each in pieces if each.choices) == ANSWER
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens > 20
    assert pieces[-1].usage.prompt_tokens == whole.usage.prompt_tokens


@pytest.mark.live
async def test_it_completes_a_prompt(alone: Served) -> None:
    async with client_of(alone.url) as client:
        made = await client.completions.create(model="demo", prompt="A worker is", max_tokens=5, temperature=0)
    assert (made.choices[0].finish_reason, made.usage.completion_tokens) == ("length", 5)


@pytest.fixture
async def tools(alone: Served, tmp_path: Path) -> Served:
    (tmp_path / "models").mkdir()
    tooled(tmp_path / "models" / "tooled.gguf")
    alone.session.settings.for_now(models_dirs=[str(tmp_path / "models")])
    return alone


@pytest.mark.live
async def test_a_tool_is_called_with_arguments_that_fit(tools: Served) -> None:
    asked = ASKED | {"model": "tooled", "tools": [TOOL], "tool_choice": "required", "max_tokens": 200}
    async with client_of(tools.url) as client:
        answer = (await client.chat.completions.create(**asked)).choices[0]
        stream = await client.chat.completions.create(**asked, stream=True)
        calls = [call async for each in stream if each.choices for call in each.choices[0].delta.tool_calls or []]
        call = answer.message.tool_calls[0]
        told = [*ASKED["messages"], answer.message, {"role": "tool", "tool_call_id": call.id, "content": "a machine"}]
        after = await client.chat.completions.create(**asked | {"messages": told, "tool_choice": "auto", "max_tokens": 5})
    assert (answer.finish_reason, call.function.name) == ("tool_calls", "look_up")
    assert json.loads(call.function.arguments)["word"] in ("worker", "slot")
    assert [each.function.arguments for each in calls] == [each.function.arguments for each in answer.message.tool_calls]
    assert after.choices[0].message.role == "assistant"


@pytest.mark.live
async def test_a_json_schema_binds_the_answer(alone: Served) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    async with client_of(alone.url) as client:
        made = await client.chat.completions.create(**ASKED, response_format=wanted, max_tokens=60)
    assert isinstance(json.loads(made.choices[0].message.content)["fits"], bool)


@pytest.mark.live
async def test_it_lists_models_and_finds_one(alone: Served) -> None:
    async with client_of(alone.url) as client:
        assert "demo" in [model.id async for model in client.models.list()]
        assert (await client.models.retrieve("demo")).object == "model"
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("nope")
    assert caught.value.code == "model_not_found"


@pytest.mark.live
async def test_errors_are_the_classes_that_the_client_has_for_them(alone: Served) -> None:
    async with client_of(alone.url) as client:
        with pytest.raises(openai.NotFoundError, match="model 'nope' not found"):
            await client.chat.completions.create(**ASKED | {"model": "nope"})
        with pytest.raises(openai.BadRequestError, match="temperature"):
            await client.chat.completions.create(**ASKED | {"temperature": 9})
        with pytest.raises(openai.BadRequestError) as too_long:
            await client.chat.completions.create(**ASKED | {"messages": [{"role": "user", "content": "word " * 2000}]})
        with pytest.raises(openai.InternalServerError) as nowhere:  # 501: nobody here makes embeddings
            await client.embeddings.create(model="demo", input=["one"])
    assert too_long.value.code == "context_length_exceeded"
    assert nowhere.value.status_code == 501


@pytest.mark.live
async def test_a_model_that_loads_is_waited_for_by_the_clients_own_retries(tmp_path: Path, llama_server: Path) -> None:
    async with (
        serving(tmp_path, patience=0.0, LLAMA_SERVER=str(llama_server)) as served,
        client_of(served.url) as hasty,
        client_of(served.url, retries=20) as patient,
    ):
        with pytest.raises(openai.InternalServerError, match="demo is loading") as caught:
            await hasty.chat.completions.create(**ASKED)
        made = await patient.chat.completions.create(**ASKED)
    assert (caught.value.status_code, caught.value.response.headers["Retry-After"]) == (503, "1")
    assert made.choices[0].message.content == ANSWER


@pytest.mark.live
async def test_one_that_asks_too_much_is_told_so(tmp_path: Path, llama_server: Path) -> None:
    async with serving(tmp_path, turns=Turns(most_of_one=0), LLAMA_SERVER=str(llama_server)) as served, client_of(served.url) as client:
        with pytest.raises(openai.RateLimitError, match="of yours"):
            await client.chat.completions.create(**ASKED)


@pytest.mark.live
async def test_a_server_that_makes_embeddings_makes_its_own(tmp_path: Path, llama_server: Path) -> None:
    with making_vectors(llama_server) as url:
        async with serving(tmp_path, nodes=[url]) as served, client_of(served.url) as client:
            packed = await client.embeddings.create(model="vectors", input=["one", "two"])  # base64 unless told otherwise
            plain = await client.embeddings.create(model="vectors", input="one", encoding_format="float")
    assert [(each.index, len(each.embedding)) for each in packed.data] == [(0, 256), (1, 256)]
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, rel=1e-3, abs=1e-4)


@dataclasses.dataclass(frozen=True)
class Locked:
    url: str
    session: Session


@pytest.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Locked]:
    session = session_at(tmp_path)
    session.gateway_key = KEY
    face = GatewayFace(session)
    yield Locked(await face.start(host="127.0.0.1", port=0), session)
    await face.close()
    await session.close()


async def test_a_wrong_key_is_an_authentication_error_and_the_right_one_opens(locked: Locked) -> None:
    async with client_of(locked.url, "wrong") as stranger, client_of(locked.url, KEY) as client:
        with pytest.raises(openai.AuthenticationError, match="a key is needed"):
            await stranger.models.list()
        assert [model.id async for model in client.models.list()]
