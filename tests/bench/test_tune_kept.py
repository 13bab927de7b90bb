"""What stays of a tuning: measurements of the kept form, and a decision that can be worked out again."""

from __future__ import annotations

import dataclasses
import json

import pytest
from bench.tunes import A, B, machine, named, objective, scene, visit

from synaptic.bench.decisions import CONFIRMED, UNKNOWN, judge
from synaptic.bench.kept import problem_of
from synaptic.bench.result import Identity, Result
from synaptic.bench.tune.candidates import anchor
from synaptic.bench.tune.kept import About, decision_of, describe, measured, name_of, prediction_error, result_of
from synaptic.bench.tune.values import LATENCY, PARALLEL, THROUGHPUT, Objective, Visit
from synaptic.bench.tune.verdict import best, judged
from synaptic.results import to_json

NOW = named("now")


def about(aim: Objective, kind: str = PARALLEL) -> About:
    return About(kind, Identity("big", "a" * 64), "b1", aim, 4, 1)


def at(*seconds: float) -> list[Visit]:
    return [visit(each, gap=10 * each, ttft=100 * each) for each in seconds]


def results(aim: Objective, visits: dict[str, list[Visit]]) -> dict[str, Result]:
    found = {name: result_of(about(aim), named(name), each, complete=True) for name, each in visits.items()}
    return {name: dataclasses.replace(result, id=name) for name, result in found.items()}


@pytest.mark.parametrize("aim", [THROUGHPUT, LATENCY])
@pytest.mark.parametrize(
    ("it", "claims", "verdict"),
    [
        ((0.50, 0.51, 0.49), "it rather than parallel 1", CONFIRMED),
        ((2.00, 2.02, 1.98), "stays: it is 0.50 times as good, worse", CONFIRMED),
        ((0.50, 2.00, 1.00), "no difference that is more than chance", UNKNOWN),
    ],
)
def test_the_decision_is_confirmed_by_its_own_evidence(aim: str, it: tuple[float, ...], claims: str, verdict: str) -> None:
    goal, visits = objective(aim), {"now": at(1.0, 1.01, 0.99, 1.0), "it": at(*it)}
    verdicts = judged(NOW, [named("it")], visits, goal)
    decision = decision_of(about(goal), NOW, verdicts, best(verdicts), visits, {"now": "now", "it": "it"})
    kept = results(goal, visits)
    assert claims in decision.claim
    assert goal.told in decision.claim
    assert judge(decision, kept.__getitem__).verdict == verdict


def test_where_nothing_met_the_limits_no_figure_decides() -> None:
    goal, visits = objective(), {"now": at(1.0, 1.01, 0.99), "it": at(0.5, 0.51, 0.49)}
    for each in visits["now"]:
        each.run.means["goodput"] = 0.0
    verdicts = judged(NOW, [named("it")], visits, goal)
    decision = decision_of(about(goal), NOW, verdicts, best(verdicts), visits, {"now": "now", "it": "it"})
    assert best(verdicts)
    assert (decision.metric, decision.evidence) == (None, ())


def test_a_measurement_has_the_form_of_every_other_one() -> None:
    found = result_of(about(objective()), named("it"), at(1.0, 1.1, 0.9), complete=False)
    assert problem_of(json.loads(json.dumps(to_json(found)))) == ""
    assert not found.complete
    assert found.config["candidate"] == "it"
    assert len(found.points[0].runs) == 3


def test_what_was_predicted_is_compared_with_the_speed_of_writing_of_all_answers_together() -> None:
    there = scene([machine(A)])
    now = anchor(there)
    came = measured(now, at(1.0, 1.0))
    assert came.tokens_per_second == pytest.approx(100.0)  # 10 ms a token
    assert came.ttft_ms == pytest.approx(100.0)
    assert prediction_error(now.prediction, came) == pytest.approx(now.prediction.expected / 100 - 1)
    assert measured(now, []) is None
    assert measured(NOW, at(1.0)) is None, "nothing was predicted of it"


def test_a_configuration_is_told_in_words() -> None:
    there = scene([machine(A), machine(B)], workers=(A, B))
    assert describe(anchor(there)) == f"parallel 1, ctx 2048, on {A} 16 + {B} 16"
    undecided = dataclasses.replace(there, now=dataclasses.replace(there.now, tensor_split=()))
    assert describe(anchor(undecided)) == f"parallel 1, ctx 2048, on {A}, {B}"
    assert describe(anchor(scene([machine(None)], workers=()))) == "parallel 1, ctx 2048, on this machine"


def test_a_decision_is_named_for_what_was_tuned_whatever_the_model_is_called() -> None:
    odd = dataclasses.replace(about(objective()), model=Identity("Ollama/Big:70B q4", None))
    assert name_of(odd) == "tune-parallel-ollama-big-70b-q4"
    assert len(name_of(dataclasses.replace(odd, model=Identity("x" * 200, None)))) == 63
