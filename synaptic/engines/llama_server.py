"""
A client of our own llama-servers, which can go on with an answer that another one began.

The chat API names the token behind each piece of text, so the tokens are kept and nothing is tokenised again: another
server, given the prompt's tokens and those, goes on with what the first would have written (greedy: exactly that).

    POST /apply-template {"messages": […]}               → {"prompt": "…"}          without the first token
    POST /tokenize {"content": …, "add_special": true}   → {"tokens": […]}          with it
    POST /completion {"prompt": [ids], "stream": true}   → data: {"content": "…", "tokens": [ids], "stop": false}
                                                           data: {"content": "", "stop": true, "stop_type": "eos", "timings": …}
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence

from synaptic.engines.chunks import Answer, count_of, object_of, text_of
from synaptic.engines.chunks import Json as Object
from synaptic.engines.engine import Chunk, Request
from synaptic.engines.openai import OpenAI
from synaptic.errors import EngineError

# after sampling: before it the server would sort the whole vocabulary for every token
_WITH_IDS = {"logprobs": True, "top_logprobs": 1, "post_sampling_probs": True, "timings_per_token": True}
_REASONS = {"eos": "stop", "word": "stop", "limit": "length"}


class LlamaServer(OpenAI):
    def generate(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """As OpenAI.generate; of a plain prompt, too, the tokens are known."""
        if request.prompt is not None:
            return self.resume(request, ())
        return self._stream("/v1/chat/completions", self._payload(request), _Chat())

    async def resume(self, request: Request, written: Sequence[Chunk]) -> AsyncGenerator[Chunk, None]:
        """What follows `written`, which `generate` gave for this request at another server. Raises EngineError."""
        chat = super()._payload(request)
        text = await self._prompt(chat) if request.prompt is None else request.prompt
        prompt = await self._tokens(text, add_special=True)
        ids = [each for chunk in written for each in await self._ids(chunk)]
        asked: dict[str, object] = {name: value for name, value in chat.items() if name not in _OF_CHAT}
        asked |= {"prompt": prompt + ids, "stream": True, "return_tokens": True, "timings_per_token": True}
        asked["n_predict"] = -1 if request.max_tokens is None else max(request.max_tokens - len(ids), 1)
        async with contextlib.aclosing(self._stream("/completion", asked, _Completion())) as chunks:
            async for chunk in chunks:
                yield chunk

    def test(self, request: Request, written: Sequence[Chunk]) -> AsyncGenerator[Chunk, None]:
        """
        One token more of an answer: the cheapest proof that all workers compute. The cache keeps the conversation; one of
        which not all tokens are known begins anew.
        """
        once = dataclasses.replace(request, max_tokens=1)
        is_known = all(chunk.tokens <= len(chunk.ids) for chunk in written)
        return self.resume(once, written) if written and is_known else self.generate(once)

    def _payload(self, request: Request) -> dict[str, object]:
        """The tokens are asked for where another server could go on; with tools the server refuses to tell them."""
        return super()._payload(request) | (_WITH_IDS if request.is_plain else {"timings_per_token": True})

    async def _ids(self, chunk: Chunk) -> list[int]:
        """A character of several tokens: the server named only the last of them."""
        if chunk.tokens <= len(chunk.ids):
            return list(chunk.ids)
        again = await self._tokens(chunk.text, add_special=False)
        if len(again) != chunk.tokens or tuple(again[-len(chunk.ids) :]) != chunk.ids:
            raise EngineError("the answer cannot be continued exactly: not all of its tokens are known", hint="try: retry")
        return again

    async def _prompt(self, chat: Mapping[str, object]) -> str:
        answer = await self._ask("/apply-template", {"messages": chat["messages"]})
        prompt = answer.get("prompt")
        if not isinstance(prompt, str):
            raise EngineError(f"{self.url} does not say how it writes a prompt", hint="try: retry")
        return prompt

    async def _tokens(self, text: str, *, add_special: bool) -> list[int]:
        answer = await self._ask("/tokenize", {"content": text, "add_special": add_special})
        listed = answer.get("tokens")
        ids = [count_of(each) for each in listed] if isinstance(listed, list) else [None]
        if any(each is None for each in ids):
            raise EngineError(f"{self.url} does not say how it cuts a text into tokens", hint="try: retry")
        return [each for each in ids if each is not None]


_OF_CHAT = ("model", "messages", "stream", "stream_options", "max_tokens", "tools", "response_format", *_WITH_IDS)


_TEXT = r'"[^"\\]*(?:\\.[^"\\]*)*"'  # without alternatives in a loop, which are slow
_TOKEN = rf'"id":(\d{{1,9}}),"token":{_TEXT},"bytes":\[[\d,]*\],"prob":[\d.e+-]+'
_ONE_TOKEN = re.compile(  # what nearly every event is
    r'\{"choices":\[\{"finish_reason":null,"index":0,"delta":\{"content":"(?!")([^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*)"\},'
    rf'"logprobs":\{{"content":\[\{{{_TOKEN},"top_probs":\[\{{{_TOKEN}\}}\]\}}\]\}}\}}\],'
    rf'"created":\d+,"id":{_TEXT},"model":{_TEXT},"system_fingerprint":{_TEXT},"object":"chat.completion.chunk",'
    r'"timings":\{[^{}]*"predicted_n":(\d{1,9}),[^{}]*\}\}'
)


class _Chat(Answer):
    """The stream of /v1/chat/completions, with the tokens. An event of the usual form is not parsed, which takes twice as long."""

    def _read(self, text: str) -> Chunk | None:
        found = _ONE_TOKEN.fullmatch(text) if self.tokens and not self.is_over else None
        if found is None:
            return super()._read(text)
        said, token, _, predicted = found.groups()
        if "\\" in said:
            try:
                said = text_of(json.loads(f'"{said}"'))
            except ValueError:  # it is no JSON after all
                return super()._read(text)
        self._predicted = int(predicted)
        self._moved(said)
        return Chunk(said, "", (int(token),), self._since_last())


class _Completion(Answer):
    """The stream of /completion, in the form of the chat's."""

    def _in_chat_form(self, event: Object) -> Object:
        is_last = event.get("stop") is True
        reason = _REASONS.get(str(event.get("stop_type")), "stop") if is_last else None
        listed = event.get("tokens")
        ids = [{"id": each} for each in listed] if isinstance(listed, list) else []
        choice = {"delta": {"content": event.get("content")}, "finish_reason": reason, "logprobs": {"content": ids}}
        timings = object_of(event.get("timings"))
        usage = {"prompt_tokens": event.get("tokens_evaluated"), "completion_tokens": event.get("tokens_predicted")} if is_last else {}
        return {"choices": [choice], "timings": timings, "usage": usage}
