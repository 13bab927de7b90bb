"""An answer over dllama workers: what the real dllama-api is asked, and what is said when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import signal

import pytest
from dllamas import plan

from synaptic.engines.dllama_api import DllamaApi
from synaptic.engines.engine import Chunk, LostError, Message, Request, StalledError
from synaptic.engines.over_dllama import OverDllama
from synaptic.errors import EngineError, RefusedError
from synaptic.events import Bus, Noticed, WorkStarted
from synaptic.process.child import State

pytestmark = [pytest.mark.anyio, pytest.mark.live]
WORKER = "A worker is a small server process on a machine that lends its memory and compute."


def request(text: str = "What is a worker?", **fields: object) -> Request:
    return Request((Message("user", text),), "demo-q40", temperature=0.0, **fields)


def attempt(apis, wanted, bus: Bus | None = None, stall_seconds: float | None = None) -> OverDllama:
    return OverDllama(wanted, apis, bus or Bus(), stall_seconds=stall_seconds)


async def whole(attempt: OverDllama, asked: Request, written: tuple[Chunk, ...] = ()) -> tuple[str, Chunk]:
    chunks = [chunk async for chunk in attempt.chunks(asked, written)]
    return "".join(chunk.text for chunk in chunks), chunks[-1]


async def test_over_two_and_four_nodes_it_writes_what_one_writes(dllama_apis, dllama_worker):
    apis, workers = dllama_apis(), [dllama_worker() for _ in range(3)]
    texts = {}
    for question in ("What is a worker?", "What is the KV cache?"):
        for count in (0, 1, 3):
            texts[question, count], end = await whole(attempt(apis, plan(*workers[:count])), request(question))
            assert end.finish_reason == "stop"
        assert texts[question, 0] == texts[question, 1] == texts[question, 3]
    assert texts["What is a worker?", 0].startswith(WORKER)


async def test_a_limit_of_tokens_is_the_reason_that_it_ends(dllama_apis):
    text, end = await whole(attempt(dllama_apis(), plan()), request(max_tokens=6))
    assert (text, end.finish_reason) == ("A worker is a small server"[: len(text)], "length")
    assert end.usage.completion_tokens == 6


async def test_a_conversation_keeps_its_turns(dllama_apis):
    apis = dllama_apis()
    turns = (
        Message("system", "Be brief."),
        Message("user", "Who are you?"),
        Message("assistant", "A model."),
        Message("user", "What is a worker?"),
    )
    text, _ = await whole(attempt(apis, plan()), dataclasses.replace(request(), messages=turns))
    assert text


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Message("user", "what is this?", images=("aGk=",)), "dllama reads no images"),
        (Message("tool", "42", tool_name="f"), "dllama calls no tools"),
        (Message("assistant", "", tool_calls=[{"function": {"name": "f", "arguments": {}}}]), "dllama calls no tools"),
    ],
)
async def test_what_would_end_it_is_not_sent(dllama_apis, message, said):
    apis = dllama_apis()
    trying = attempt(apis, plan())
    with pytest.raises(RefusedError, match=said):
        await whole(trying, dataclasses.replace(request(), messages=(message,)))
    assert not await trying.is_worth_another()
    assert (await whole(attempt(apis, plan()), request()))[0].startswith(WORKER)


async def test_only_what_it_understands_is_sent(dllama_apis, dllamaapi):
    apis = dllama_apis(dllamaapi("well"))
    options = {"stop": "\n", "num_predict": 5, "top_k": 3, "temperature": 0.1}
    asked = request("a \ud800 and ü", seed=7, options=options, format="json", tools=[{"type": "function"}])
    assert (await whole(attempt(apis, plan()), asked))[0] == "all is well"
    log = apis.all()[0].child.spec.log
    body = json.loads(re.search(r"^asked (.*)$", log.read_text(), re.MULTILINE)[1])
    assert body == {"messages": [{"role": "user", "content": "a ? and ü"}], "stream": True, "max_tokens": 5, "seed": 7}


async def test_a_prompt_longer_than_the_context_is_named(dllama_apis):
    apis = dllama_apis()
    trying = attempt(apis, plan(context=64))
    with pytest.raises(RefusedError, match="longer than its context"):
        await whole(trying, request("What is a worker? " * 100))
    assert not await trying.is_worth_another()
    assert (await whole(attempt(apis, plan(context=64)), request()))[0].startswith(WORKER[:20])


async def test_a_second_prompt_waits_for_the_first(dllama_apis):
    apis, bus = dllama_apis(), Bus()
    await apis.ensure(plan())
    answers = await asyncio.gather(*(whole(attempt(apis, plan(), bus), request()) for _ in range(3)))
    assert len({text for text, _ in answers}) == 1
    told = [event.what for event in bus.history if isinstance(event, WorkStarted)]
    assert told == ["waiting: demo-q40 answers someone else, and dllama one at a time"] * 2
    assert apis.all()[0].generating == 0


async def test_it_survives_a_prompt_that_is_given_up_at_any_moment(dllama_apis):
    apis = dllama_apis()
    coordinator = await apis.ensure(plan())
    pid = coordinator.child.pid
    for moments in range(1, 60):
        asking = asyncio.create_task(whole(attempt(apis, plan()), request()))
        for _ in range(moments):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert (await whole(attempt(apis, plan()), request()))[0].startswith(WORKER)
    assert coordinator.child.pid == pid


async def test_another_temperature_than_it_was_started_with_is_told(dllama_apis):
    bus = Bus()
    await whole(attempt(dllama_apis(), plan(), bus), dataclasses.replace(request(max_tokens=3), temperature=0.5))
    (notice,) = [event.text for event in bus.history if isinstance(event, Noticed)]
    assert notice == "dllama answers at the temperature it was started with (0), not 0.5; coordinator restart takes it"


async def broken_by(trying: OverDllama, worker, *signals: signal.Signals) -> tuple[str, EngineError]:
    """The answer as far as it came when this befell the worker after the first piece, and the error."""
    text = ""
    with pytest.raises(EngineError) as caught:  # noqa: PT012 - the error is in the middle of the stream
        async with contextlib.aclosing(trying.chunks(request("What is the KV cache?"), ())) as chunks:
            async for chunk in chunks:
                if not text:
                    for each in signals:
                        worker.process.send_signal(each)
                text += chunk.text
    return text, caught.value


async def test_a_worker_killed_in_an_answer_is_named_and_the_answer_goes_on_without_it(dllama_apis, dllama_worker):
    apis, workers = dllama_apis(), [dllama_worker() for _ in range(3)]
    undisturbed, _ = await whole(attempt(apis, plan(*workers)), request("What is the KV cache?"))
    trying = attempt(apis, plan(*workers))
    text, error = await broken_by(trying, workers[1], signal.SIGSTOP, signal.SIGKILL)
    explained = await trying.explained(error, kept=True)
    assert isinstance(explained, LostError)
    assert explained.lost == (str(workers[1].endpoint),)
    assert str(explained) == f"the answer broke off: worker {workers[1].endpoint} was lost; what was written so far stays"
    assert apis.all()[0].state is State.FAILED
    assert undisturbed.startswith(text)
    rest, end = await whole(attempt(apis, plan(workers[2])), request("What is the KV cache?"), (Chunk(text[:9]), Chunk(text[9:])))
    assert (text + rest, end.finish_reason) == (undisturbed, "stop")


@pytest.mark.parametrize("count", [1, 3])
async def test_a_frozen_worker_is_named_and_its_root_ended(dllama_apis, dllama_worker, count):
    """Those that wait for it may or may not notice that their root has gone."""
    apis, workers = dllama_apis(), [dllama_worker() for _ in range(count)]
    await whole(attempt(apis, plan(*workers)), request())
    trying = attempt(apis, plan(*workers), stall_seconds=3.0)
    _, error = await broken_by(trying, workers[-1], signal.SIGSTOP)
    assert isinstance(error, StalledError)
    explained = await trying.explained(error, kept=True)
    workers[-1].process.send_signal(signal.SIGCONT)
    assert isinstance(explained, LostError)
    assert str(workers[-1].endpoint) in explained.lost
    said = "worker {0} does not listen again" if len(explained.lost) == 1 else "one worker is frozen, and others wait for it: "
    assert said.format(workers[-1].endpoint) in str(explained)
    assert apis.all()[0].state is State.STOPPED
    for worker in workers:
        worker.wait_until(listens=True)


async def test_an_answer_with_other_words_does_not_go_on(dllama_apis):
    with pytest.raises(EngineError, match="cannot be continued: the new one has other words"):
        await whole(attempt(dllama_apis(), plan()), request(), (Chunk("A walrus"),))


async def test_one_that_answers_nothing_any_more_is_replaced(dllama_apis, dllamaapi, tmp_path):
    apis = dllama_apis(dllamaapi("silent"))
    trying = attempt(apis, plan())
    with pytest.raises(EngineError):
        await whole(trying, request())
    assert await trying.is_worth_another()
    assert (await whole(attempt(apis, plan()), request()))[0] == "all is well"
    assert (tmp_path / "starts").read_text() == "xx"


async def test_a_broken_answer_after_its_first_words_is_not_tried_again(dllama_apis):
    trying = attempt(dllama_apis(), plan())
    async with contextlib.aclosing(trying.chunks(request(), ())) as chunks:
        await anext(chunks)
    assert not await trying.is_worth_another()


def test_the_client_is_the_one_of_the_openai_api():
    assert DllamaApi("http://127.0.0.1:1/v1", model="m", key=None, stall_seconds=1.0).url == "http://127.0.0.1:1"
