"""
How fast one worker is: llama-bench with a synthetic model against it alone, for a few seconds.

The worker is held meanwhile, so nobody else of ours turns to it; one that is in use or silent is not touched. What a
fast accelerator could do is underestimated: so small a model keeps it waiting for its next task.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from synaptic.cluster.backend import State
from synaptic.cluster.knocks import knocks
from synaptic.cluster.pool import Pool
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, EngineError, os_reason
from synaptic.planning.costmodel import RPC
from synaptic.planning.speeds import Speed
from synaptic.process.probe_model import FLOP, READ, probe_model
from synaptic.process.variables import inherited

OWNER = "a speed probe"
WITHIN = 120.0  # seconds; a slow link has to carry 113 MB in them
PROMPT, ANSWER, REPEATS = 128, 16, 3
KNOCKS = 5


class Probe:
    """`program` is llama-bench; `cache` the folder for the synthetic model."""

    def __init__(self, program: Path, pool: Pool, cache: Path, variables: Mapping[str, str], within: float = WITHIN) -> None:
        self._program = program
        self._pool = pool
        self._cache = cache
        self._variables = variables
        self._within = within

    async def measure(self, endpoint: Endpoint) -> Speed:
        """Raises BackendError (not free, or lost meanwhile) or EngineError (llama-bench cannot)."""
        (answer,) = await self._pool.check([endpoint])
        if answer.state is not State.IDLE:
            raise BackendError(f"{endpoint} cannot be measured now: {answer.detail or answer.state.value}", hint="try: rpc check")
        model = await self._model()
        self._pool.hold([endpoint], f"{OWNER} of {endpoint}")
        try:
            async with asyncio.timeout(self._within):
                round_trip = min(await knocks(endpoint, KNOCKS))
                return await self._bench(endpoint, model, round_trip)
        except TimeoutError as error:
            raise BackendError(f"{endpoint} could not be measured within {self._within:.0f} s", hint="is its network that slow?") from error
        finally:
            self._pool.release(f"{OWNER} of {endpoint}")

    async def _model(self) -> Path:
        try:
            return await asyncio.to_thread(probe_model, self._cache)
        except OSError as error:
            raise EngineError(
                f"cannot write a model to measure with: {os_reason(error)}", hint=f"is {self._cache} yours, and not full?"
            ) from error

    async def _bench(self, endpoint: Endpoint, model: Path, round_trip: float) -> Speed:
        words = ["-m", model, "--rpc", str(endpoint), "-ngl", "999", "-p", str(PROMPT), "-n", str(ANSWER), "-r", str(REPEATS), "-o", "json"]
        started = time.monotonic()
        output = await self._run(endpoint, *map(str, words))
        took = time.monotonic() - started
        prompt, answer = _rates(output)
        tested = (REPEATS + 1) * (PROMPT / prompt + ANSWER / answer)  # one of each to warm up
        seconds = max(1 / answer - round_trip - RPC, 0.1 / answer)
        return Speed(
            bandwidth=READ / seconds,
            round_trip=round_trip,
            link=model.stat().st_size / max(took - tested, 0.01),
            measured_at=time.time(),
            compute=FLOP * prompt,
        )

    async def _run(self, endpoint: Endpoint, *words: str) -> bytes:
        variables = inherited(self._variables) | {"GGML_NO_BACKTRACE": "1"}
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                self._program, *words, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=variables, start_new_session=True
            )
        except OSError as error:
            raise EngineError(f"cannot start {self._program}: {os_reason(error)}", hint="try: engine list") from error
        try:
            output, words_said = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if process.returncode != 0:
            last = words_said.decode(errors="replace").strip().splitlines()[-1:] or ["without a word"]
            raise BackendError(f"llama-bench failed at {endpoint}: {last[0]}", hint="try: rpc check")
        return output


def _rates(output: bytes) -> tuple[float, float]:
    """Tokens/s of reading and of writing."""
    try:
        tests = json.loads(output)
        prompt = next(float(test["avg_ts"]) for test in tests if not test["n_gen"])
        answer = next(float(test["avg_ts"]) for test in tests if not test["n_prompt"])
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise EngineError("llama-bench said nothing that could be read", hint="is it of the same build as llama-server?") from error
    if not (0 < prompt < 1e9 and 0 < answer < 1e9):
        raise EngineError("llama-bench measured nothing", hint="try again")
    return prompt, answer
