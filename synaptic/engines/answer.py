"""
From a prompt to an answer: the route, whoever answers, the stream.

An answer that breaks keeps what was shown. Before the first token a failure costs one silent retry on a new route.
After it, an answer of a coordinator goes on after the last token that was shown, on the workers that are left, and one
of a vLLM at another: the tokens are kept, so that nothing is shown twice and nothing is written anew. Other answers
break off.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import time
from collections.abc import AsyncGenerator, Callable

from synaptic.engines.answering import Answering
from synaptic.engines.attempt import Attempt, Failover, Overcome
from synaptic.engines.engine import Chunk, LostError, Message, Request, Timings, Usage
from synaptic.engines.openai import tail
from synaptic.errors import EngineError, SynapticError
from synaptic.events import GenerationFinished, GenerationProgressed, GenerationStarted, GenerationWentOn, Noticed
from synaptic.models.model import BUILTIN, DLLAMA
from synaptic.planning.plan import Route
from synaptic.results import Json, Outcome, plural

MOST_FAILOVERS = 5  # of one answer
OFF, ASK = "off", "ask"
TELL_EVERY = 0.25  # seconds between two progress events of one answer
_numbers = itertools.count(1)


class Reply:
    """
    One answer on its way: iterate `pieces` or `chunks`, then ask for the `outcome`. `like`: what else is asked for, and
    how. `learns()`, asked at its end: whether what it took tells how fast the next one will be. `asks`: whether somebody
    is there who can be asked before it goes on elsewhere; else it does.
    """

    def __init__(
        self,
        answering: Answering,
        route: Route,
        messages: tuple[Message, ...],
        remember: Callable[[str, bool], None] = lambda text, complete: None,
        like: Request | None = None,
        learns: Callable[[], bool] = lambda: True,
        asks: bool = True,
    ) -> None:
        self.route = route
        self.text = ""
        self.number = next(_numbers)  # of this answer, in this process
        self._answering = answering
        self._messages = messages
        self._remember = remember
        self._like = like or Request((), "")
        self._learns = learns
        self._asks = asks
        self._attempt: Attempt | None = None
        self._end: Chunk | None = None
        self._error: EngineError | None = None
        self._tokens = self._known_before = 0  # shown; and those of them that whoever writes now counts as its prompt
        self._is_shown = False
        self._written: list[Chunk] = []
        self.failovers: list[Failover] = []
        self._began = time.monotonic()
        self._first: float | None = None
        self._told = 0.0  # when, by a steady clock

    @property
    def served_by(self) -> str:
        """`llama.cpp on 2 workers`, `ollama at 10.0.0.5:11434`."""
        return f"{self.route.via} {'on' if self.route.plan else 'at'} {self.route.where}"

    @property
    def load_seconds(self) -> float | None:
        """How long it took until the model was there; None: not known."""
        return self._attempt.load_seconds if self._attempt else None

    async def pieces(self) -> AsyncGenerator[str, None]:
        """Text as it comes. Raises EngineError if nothing came at all; later failures are in the outcome."""
        async with contextlib.aclosing(self._shown(all_of_it=False)) as chunks:
            async for chunk in chunks:
                yield chunk.text

    def chunks(self) -> AsyncGenerator[Chunk, None]:
        """The same with reasoning, tool calls, and the last chunk, which says why it finished: without that one it is not whole."""
        return self._shown(all_of_it=True)

    async def _shown(self, *, all_of_it: bool) -> AsyncGenerator[Chunk, None]:
        bus = self._answering.bus
        bus.publish(self._started())
        try:
            async with contextlib.aclosing(self._try()) as chunks:
                async for chunk in chunks:
                    if chunk.text or all_of_it:
                        self._is_shown = True
                        yield chunk
            _, timings = self.measured()
            if self._learns():
                await asyncio.to_thread(self._answering.learn, self.route, self._tokens, timings)
        except EngineError as error:
            self._error = error
            if not self._is_shown:
                raise
        finally:
            self._remember(self.text, self._end is not None)
            bus.publish(self._finished())

    def outcome(self) -> Outcome:
        loaded = self.load_seconds
        line = tail(*self.measured()) if self._end else f"{plural(self._tokens, 'token')}, incomplete"
        if self.failovers:
            line += f" · went on without {', '.join(each.who for each in self.failovers)}"
        if loaded and loaded >= 0.5:
            line += f" · loaded in {loaded:.1f} s"
        return Outcome(self._as_json(), line, self._error)

    async def _try(self) -> AsyncGenerator[Chunk, None]:
        """Until the answer is whole, or nobody can write it."""
        silent = 1
        while True:
            attempt = self._attempt = self._answering.attempt(self.route)
            try:
                known = 0
                async with contextlib.aclosing(attempt.chunks(self._request(), self._written)) as chunks:
                    async for chunk in chunks:
                        while known < len(attempt.overcame):
                            self._overcome(attempt.overcame[known])
                            known += 1
                        self._take(chunk)
                        yield chunk
                return
            except EngineError as error:
                if not self._is_shown and silent and await self._has_another_way(attempt):
                    silent -= 1
                    continue
                explained = await attempt.explained(error, kept=self._is_shown)
                if not await self._goes_on(explained):
                    raise explained from error

    async def _goes_on(self, error: EngineError) -> bool:
        """After the last token that was shown, on a route without what was lost. Raises EngineError when there is none."""
        values, began = self._answering.values(), time.monotonic()
        can = isinstance(error, LostError) and self.text and self._can_resume and len(self.failovers) < MOST_FAILOVERS
        if not isinstance(error, LostError) or not can or values.failover == OFF:
            return False
        if values.failover == ASK and self._asks and not await self._answering.confirm(f"{error}. go on without it?"):
            return False
        with self._answering.bus.work(f"{', '.join(error.lost) or 'the coordinator'} was lost: looking for another way"):
            try:
                route = await self._answering.route(self.route.model.name, via=self.route.via, goes_on=True)
            except SynapticError as nowhere:
                raise EngineError(f"{error}. {nowhere}", hint=nowhere.hint, details=error.details) from error
        self.route = route
        failover = Failover(error.lost, str(error), self._tokens, round(time.monotonic() - began, 3), began)
        self._went_on(failover)
        self._known_before = 0 if route.via in (BUILTIN, DLLAMA) else self._tokens
        self._answering.bus.publish(Noticed(text=f"{failover.who} was lost; the answer goes on, on {route.where}"))
        return True

    def _went_on(self, failover: Failover) -> None:
        self.failovers.append(failover)
        lost, cause, name, where = failover.lost, failover.cause, self.route.model.name, self.route.where
        self._answering.bus.publish(
            GenerationWentOn(generation=self.number, model=name, lost=lost, cause=cause, tokens=failover.after_tokens, where=where)
        )

    def _take(self, chunk: Chunk) -> None:
        if chunk.finish_reason:
            self._end = chunk
        elif chunk.text or chunk.reasoning:
            self._written.append(chunk)
        if chunk.text:
            self.text += chunk.text
            self._tokens += max(chunk.tokens, 1)
            self._tell()

    def _overcome(self, loss: Overcome) -> None:
        """What was measured is then of two ways at once, and teaches nothing. Before the first token nobody needs to know."""
        self.route = dataclasses.replace(self.route, plan=loss.plan, prediction=None)
        if self._is_shown:
            self._went_on(Failover(loss.lost, loss.cause, self._tokens, round(loss.seconds, 3), loss.at))

    @property
    def _can_resume(self) -> bool:
        """Every token is known, and what comes next depends on nothing else."""
        if self.route.via == BUILTIN:  # as below, at any temperature: its dice are the same every time
            return self._like.is_plain
        if self.route.via == DLLAMA:  # it begins with the same words again, which are left out
            return self._like.is_plain and self._request().temperature == 0
        return bool(self._written) and self._request().is_plain and all(chunk.ids for chunk in self._written)

    def _request(self) -> Request:
        values, model, like = self._answering.values(), self.route.model, self._like
        usual = model.temperature if values.temperature is None else values.temperature
        return dataclasses.replace(
            like,
            messages=self._messages,
            model=model.name,
            temperature=usual if like.temperature is None else like.temperature,
            seed=values.seed if like.seed is None else like.seed,
            max_tokens=values.max_tokens if like.max_tokens is None else like.max_tokens,
            context=like.context or values.context,
        )

    def _tell(self) -> None:
        now = time.monotonic()
        self._first = self._first or now
        if now - self._told < TELL_EVERY:
            return
        self._told = now
        rate = (self._tokens - 1) / (now - self._first) if now > self._first else None
        self._answering.bus.publish(
            GenerationProgressed(model=self.route.model.name, tokens=self._tokens, tokens_per_second=rate, generation=self.number)
        )

    def _started(self) -> GenerationStarted:
        route = self.route
        return GenerationStarted(model=route.model.name, generation=self.number, via=route.via, where=route.where, why=route.why)

    def _finished(self) -> GenerationFinished:
        usage, timings = self.measured()
        return GenerationFinished(
            model=self.route.model.name,
            complete=self._end is not None,
            tokens=usage.completion_tokens if usage else self._tokens,
            tokens_per_second=timings.tokens_per_second if timings else None,
            ttft_ms=timings.ttft_ms if timings else None,
            generation=self.number,
            cause=str(self._error or ""),
        )

    async def _has_another_way(self, attempt: Attempt) -> bool:
        """Whether trying again makes sense: what failed may be gone, or the route is another by now."""
        may_be_gone = await attempt.is_worth_another()
        if self.route.plan and not self.route.plan.workers:
            return may_be_gone
        before, via = self.route, self.route.via if self.route.is_forced else None
        self.route = await self._answering.route(before.model.name, via=via)
        return may_be_gone or (before.plan, before.nodes[:1]) != (self.route.plan, self.route.nodes[:1])

    def measured(self) -> tuple[Usage | None, Timings | None]:
        """Of the whole answer: after a failover the last server knows only its part."""
        end = self._end or Chunk()
        if not self.failovers or not end.usage or not end.timings or not self._first:
            return end.usage, end.timings
        before = self._known_before
        prompt = end.usage.prompt_tokens
        usage = Usage(prompt - before if prompt else None, before + end.usage.completion_tokens, None)
        elapsed = round((time.monotonic() - self._began) * 1000, 1)
        return usage, Timings(round((self._first - self._began) * 1000, 1), end.timings.tokens_per_second, elapsed)

    def _as_json(self) -> Json:
        usage, timings = self.measured()
        loaded = self.load_seconds
        return {
            "text": self.text,
            "model": self.route.model.name,
            "complete": self._end is not None,
            "finish_reason": self._end.finish_reason if self._end else None,
            "route": self.route.as_json(),
            "failovers": [each.as_json() for each in self.failovers],
            "usage": {
                "prompt_tokens": usage.prompt_tokens if usage else None,
                "completion_tokens": usage.completion_tokens if usage else self._tokens,
                "cached_tokens": usage.cached_tokens if usage else None,
            },
            "timings": {
                "ttft_ms": timings.ttft_ms if timings else None,
                "tokens_per_second": timings.tokens_per_second if timings else None,
                "total_ms": timings.total_ms if timings else None,
                "load_ms": round(loaded * 1000, 1) if loaded is not None else None,
            },
        }
