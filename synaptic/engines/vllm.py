"""
A client of vLLM, which can go on with an answer that another one began: it tells the tokens behind each piece.

    POST /v1/chat/completions {…, "return_token_ids": true}   → data: {"choices": [{"delta": {"content": "A"}, "token_ids": [32]}]}
    POST /tokenize {"model", "messages"}                      → {"tokens": [ids], "count": 9, "max_model_len": 512}
    POST /v1/completions {"prompt": [ids], …}                 → data: {"choices": [{"text": "B", "token_ids": [33]}]}
    POST /detokenize {"model", "tokens"}                      → {"prompt": "…"}

It says "abort" or "error" for the reason to finish where it gave an answer up, as when it is told to end.
A piece without text is the beginning of a character: its tokens belong to the piece that completes it. Before 0.10.2
no tokens are told; then an answer that broke off stays so. Without max_tokens /v1/completions writes 16 tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

from synaptic.engines.chunks import Answer, Completion, count_of
from synaptic.engines.chunks import Json as Object
from synaptic.engines.engine import Chunk, Request
from synaptic.engines.openai import OpenAI
from synaptic.errors import EngineError

_WITH_IDS = {"return_token_ids": True}
_OF_CHAT = ("messages", "max_tokens", "tools", "tool_choice", "chat_template_kwargs", "reasoning_effort")
_UNKNOWN_BYTES = "\ufffd"
_GIVEN_UP = ("abort", "error")


class Vllm(OpenAI):
    def generate(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """As OpenAI.generate, with the tokens."""
        if request.prompt is None:
            return self._stream("/v1/chat/completions", self._payload(request), _Answer())
        return self.resume(request, ())

    async def resume(self, request: Request, written: Sequence[Chunk]) -> AsyncGenerator[Chunk, None]:
        """What follows `written`, which `generate` gave for this request at another server. Raises EngineError."""
        if any(chunk.reasoning for chunk in written):
            raise EngineError("the answer cannot be continued exactly: a part of it was reasoning", hint="try: retry")
        asked = self._payload(request)
        prompt, context = await self._tokens(asked)
        ids = [each for chunk in written for each in chunk.ids]
        await self._check_vocabulary(ids, "".join(chunk.text for chunk in written))
        most, left = count_of(asked.get("max_tokens")), context - len(prompt) - len(ids)
        continued = {name: value for name, value in asked.items() if name not in _OF_CHAT}
        continued |= {"prompt": prompt + ids, "max_tokens": max(left if most is None else min(most - len(ids), left), 1)}
        async with contextlib.aclosing(self._stream("/v1/completions", continued, _Completion())) as chunks:
            async for chunk in chunks:
                yield chunk

    def _payload(self, request: Request) -> dict[str, object]:
        return super()._payload(request) | _WITH_IDS

    async def _tokens(self, asked: Mapping[str, object]) -> tuple[list[int], int]:
        """Those of the prompt, and how many there may be in all."""
        said = {name: asked[name] for name in ("model", "messages", "prompt") if name in asked}
        answer = await self._ask("/tokenize", said)
        listed, most = answer.get("tokens"), count_of(answer.get("max_model_len"))
        ids = [count_of(each) for each in listed] if isinstance(listed, list) else [None]
        if most is None or any(each is None for each in ids):
            raise EngineError(f"{self.url} does not say how it cuts a text into tokens", hint="try: retry")
        return [each for each in ids if each is not None], most

    async def _check_vocabulary(self, ids: Sequence[int], text: str) -> None:
        """The same name may be another model's there, to which these tokens say something else."""
        if not ids or _UNKNOWN_BYTES in text:
            return
        answer = await self._ask("/detokenize", {"model": self._model, "tokens": list(ids)})
        told = answer.get("prompt")
        if not isinstance(told, str) or told.strip() != text.strip():
            raise EngineError(f"the answer cannot be continued at {self.url}: its {self._model} has another vocabulary", hint="try: retry")


class _Answer(Answer):
    """Each piece with the tokens since the one before it."""

    def __init__(self) -> None:
        super().__init__()
        self._ids: list[int] = []

    def take(self, data: bytes) -> Iterator[Chunk]:
        for chunk in super().take(data):
            yield chunk._replace(ids=tuple(self._ids), tokens=len(self._ids))
            self._ids.clear()

    def _in_chat_form(self, event: Object) -> Object:
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        if choice.get("finish_reason") in _GIVEN_UP:
            raise EngineError("the answer ended early: the server gave it up", hint="try: retry")
        listed = choice.get("token_ids")
        self._ids += [each for each in listed if count_of(each) is not None] if isinstance(listed, list) else []
        return super()._in_chat_form(event)


class _Completion(_Answer, Completion):
    """The same of /v1/completions."""
