"""Answers as the page sees them, from events alone."""

from __future__ import annotations

from synaptic.engines.root_events import Figures, NodeFigures, RootAnswered, TokensPassed
from synaptic.events import (
    Event,
    GenerationFinished,
    GenerationProgressed,
    GenerationStarted,
    GenerationWentOn,
    WorkFinished,
    WorkProgressed,
    WorkStarted,
)
from synaptic.web.activity import Activity, Cost

STARTED = GenerationStarted(at=100.0, generation=7, model="m", via="llama.cpp", where="2 workers", why="it fits")


def after(*events: Event) -> Activity:
    activity = Activity()
    for event in events:
        activity.hear(event)
    return activity


def progressed(at: float, tokens: int, rate: float | None, generation: int = 7) -> GenerationProgressed:
    return GenerationProgressed(at=at, generation=generation, model="m", tokens=tokens, tokens_per_second=rate)


def test_an_answer_waits_writes_and_is_done() -> None:
    assert after(STARTED).running[7].state == "waiting"
    writing = after(STARTED, progressed(100.25, 1, None), progressed(101.0, 20, 25.0))
    assert (writing.running[7].state, writing.running[7].ttft_ms, writing.tokens_per_second) == ("writing", 250.0, 25.0)
    end = GenerationFinished(at=103.0, generation=7, model="m", complete=True, tokens=50, tokens_per_second=24.0, ttft_ms=240.0)
    done = after(STARTED, progressed(100.25, 1, None), end)
    assert not done.running
    assert done.tokens == 50
    assert (done.recent[0].state, done.recent[0].tokens_per_second, done.recent[0].ttft_ms) == ("done", 24.0, 240.0)


def test_a_failover_stays_visible_and_two_answers_of_one_model_are_two() -> None:
    went_on = GenerationWentOn(at=102.0, generation=7, model="m", lost=("10.0.0.1:50052",), cause="it died", tokens=9, where="1 worker")
    other = GenerationStarted(at=100.5, generation=8, model="m", via="llama.cpp", where="2 workers", why="")
    end = GenerationFinished(
        at=110.0, generation=7, model="m", complete=False, tokens=9, tokens_per_second=None, ttft_ms=None, cause="gone"
    )
    activity = after(STARTED, other, progressed(101.0, 8, 30.0), progressed(101.0, 2, 5.0, generation=8), went_on)
    assert (activity.running[7].where, activity.running[7].tokens, activity.tokens) == ("1 worker", 9, 11)
    assert activity.tokens_per_second == 5.0  # nobody writes the first one at this moment
    activity.hear(end)
    assert list(activity.running) == [8]
    assert activity.recent[0].failovers[0].lost == ("10.0.0.1:50052",)
    assert (activity.recent[0].state, activity.recent[0].cause, activity.recent[0].tokens_per_second) == ("incomplete", "gone", None)


def test_long_works_show_how_far_they_are() -> None:
    begun = (
        WorkStarted(at=1.0, work=3, what="m loading"),
        WorkProgressed(at=2.0, work=3, what="m loading", done=3, total=80, unit="layers"),
    )
    (work,) = after(*begun).works.values()
    assert (work.what, work.began, work.done, work.total) == ("m loading", 1.0, 3, 80)
    assert not after(*begun, WorkFinished(work=3, what="m loading")).works


def test_an_answer_of_a_root_shows_what_a_token_costs_and_only_its_own() -> None:
    started = GenerationStarted(at=1.0, generation=9, model="m", via="builtin", where="1 worker", why="")
    lately = Figures(4, 40.0, 20.0, (NodeFigures("here", 0, 0, 40.0), NodeFigures("10.0.0.1:9999", 900, 800, 18.0)))
    activity = after(STARTED, started, TokensPassed(model="m", phase="answer", figures=lately))
    assert activity.running[9].cost == Cost(10.0, 5.0, (("10.0.0.1:9999", 4.5),))
    assert activity.running[7].cost is None
    activity.hear(TokensPassed(model="m", phase="prompt", figures=Figures(99, 1.0, 1.0)))
    activity.hear(RootAnswered(model="m", split="tensor", prompt=Figures(), answer=Figures(10, 110.0, 40.0)))
    assert activity.running[9].cost == Cost(11.0, 4.0)


def test_the_end_of_an_answer_whose_beginning_was_missed_is_no_news() -> None:
    assert not after(progressed(1.0, 5, 2.0)).running
