"""Who speaks where, for each strategy."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from synaptic.agents.cast import MOST_VOICES, cast
from synaptic.agents.place import Place

A, B, C = (Place("m", f"http://127.0.0.{number}:11434") for number in (1, 2, 3))
GPU = Place("m", "http://127.0.0.9:11434", has_gpu=True)
BIG = Place("big", "http://127.0.0.8:11434")


@pytest.mark.parametrize(
    ("strategy", "places", "researcher", "critic", "together", "why"),
    [
        ("auto", [A], A, A, False, "one place, one after the other"),
        ("auto", [A, B, C], A, B, True, "3 nodes are ready"),
        ("parallel", [A], A, A, True, "they share one place"),
        ("parallel", [A, B], A, B, True, "2 nodes are ready"),
        ("gpu", [A, GPU, B], GPU, GPU, False, "1 node with a GPU"),
        ("gpu", [A, B], A, B, True, "no node says it has a GPU"),
    ],
)
def test_researcher_and_critic(strategy: str, places: Sequence[Place], researcher: Place, critic: Place, together: bool, why: str) -> None:
    team = cast(strategy, places)
    assert (team.voices, team.critic, team.editor) == ((researcher,), critic, researcher)
    assert (team.together, team.why) == (together, why)


@pytest.mark.parametrize(
    ("places", "others", "voices", "why"),
    [
        ([A, B, C], [BIG], [A, B, C], "3 answers to choose from"),
        ([A], [BIG], [A, BIG], "2 answers to choose from"),
        ([A], [], [A], "no second node or model is ready"),
        ([A] * 9, [], [A] * MOST_VOICES, "4 answers to choose from"),
    ],
)
def test_multi_asks_every_place_and_other_models_where_there_is_only_one(
    places: Sequence[Place], others: Sequence[Place], voices: Sequence[Place], why: str
) -> None:
    team = cast("multi", places, others=lambda: others)
    assert (list(team.voices), team.critic, team.editor, team.together, team.why) == (voices, None, A, True, why)


@pytest.mark.parametrize("strategy", ["auto", "parallel", "multi", "gpu"])
def test_the_synthesis_model_is_the_editors(strategy: str) -> None:
    assert cast(strategy, [A, B], editor=BIG).editor == BIG
