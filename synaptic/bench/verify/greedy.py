"""
A prompt, gone on with greedily, with how likely each token was.

    llama-server   POST /completion {"prompt", "n_predict", "n_probs"}
                   → completion_probabilities[{token, logprob, top_logprobs[]}]
    OpenAI's API   POST /v1/completions {"prompt", "max_tokens", "logprobs"}
                   → choices[0].logprobs{tokens[], token_logprobs[], top_logprobs[{}]}

Text goes in as it is: no template is put around it, so every server continues the same.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Any

from synaptic.bench.verify.agreement import Step, Written
from synaptic.errors import EngineError
from synaptic.terminal import one_line

WITHIN = 900.0  # seconds for one answer: a large model over slow links
LIMIT = 1 << 24  # bytes
TOP, MOST_OF_OPENAI = 10, 5  # tokens of which the likelihood is asked
_GREEDY: dict[str, object] = {"temperature": 0, "seed": 0, "stream": False}


async def template(url: str, key: str | None, question: str) -> str:
    """The question as a llama-server writes it for its model, without the first token. Raises EngineError."""
    answer = await _post(f"{url}/apply-template", key, {"messages": [{"role": "user", "content": question}]})
    return str(answer.get("prompt", question))


async def by_llama_server(url: str, key: str | None, text: str, tokens: int) -> Written:
    """Raises EngineError."""
    asked = {**_GREEDY, "prompt": text, "n_predict": tokens, "n_probs": TOP, "cache_prompt": False}
    answer = await _post(f"{url}/completion", key, asked)
    listed = answer.get("completion_probabilities")
    steps = [_step(each) for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return Written(str(answer.get("content", "")), tuple(steps))


async def by_openai(url: str, key: str | None, model: str, text: str, tokens: int) -> Written:
    """Raises EngineError."""
    asked = {**_GREEDY, "model": model, "prompt": text, "max_tokens": tokens, "logprobs": MOST_OF_OPENAI}
    answer = await _post(f"{url}/v1/completions", key, asked)
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    said = choice.get("logprobs")
    return Written(str(choice.get("text", "")), _steps(said) if isinstance(said, dict) else ())


def _steps(said: Mapping[str, Any]) -> tuple[Step, ...]:
    """Either of the forms that servers of this API give: in lists beside each other, or an object for each token."""
    if isinstance(said.get("content"), list):
        return tuple(_step(each) for each in said["content"] if isinstance(each, dict))
    tokens, values, tops = (said.get(name) or [] for name in ("tokens", "token_logprobs", "top_logprobs"))
    if not len(tokens) == len(values) == len(tops):
        return ()
    return tuple(
        Step(str(token), _number(value), {str(name): _number(each) for name, each in (top or {}).items()})
        for token, value, top in zip(tokens, values, tops, strict=True)
    )


def _step(entry: Mapping[str, Any]) -> Step:
    top = entry.get("top_logprobs")
    listed = (
        {str(each.get("token")): _number(each.get("logprob")) for each in top if isinstance(each, dict)} if isinstance(top, list) else {}
    )
    return Step(str(entry.get("token")), _number(entry.get("logprob")), listed)


def _number(value: object) -> float:
    """What is no number, as null is for NaN, was as good as impossible."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    return max(float(value), -1e9) if is_number else -1e9  # type: ignore[arg-type]  # looked at above


async def _post(url: str, key: str | None, asked: Mapping[str, object]) -> dict[str, Any]:
    import aiohttp

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with (
            asyncio.timeout(WITHIN),
            aiohttp.ClientSession(trust_env=False, headers=headers, timeout=aiohttp.ClientTimeout(total=None)) as http,
            http.post(url, json=asked, allow_redirects=False) as response,
        ):
            body = bytearray()
            while len(body) < LIMIT and (piece := await response.content.readany()):
                body += piece
    except (aiohttp.ClientError, OSError) as error:
        raise EngineError(f"nothing came from {url}", hint="try: coordinator logs") from error
    try:
        document = json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise EngineError(f"{url} answers with no JSON", hint="is it a server of models?") from error
    if response.status != 200 or not isinstance(document, dict):
        raise EngineError(f"{url} refused (HTTP {response.status}): {one_line(bytes(body[:300]).decode(errors='replace'), 200)}")
    return document
