"""Who speaks where. Pure: values in, a value with its `why` out.

single     one answer, no agents
parallel   researcher and critic at the same time, on different nodes where there are two
multi      the same question to several nodes and models at the same time, and an editor's synthesis
gpu        as auto, but only on nodes that say they have a GPU, where there is one
auto       parallel where two nodes are ready; else researcher and critic one after the other
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from synaptic.agents.place import Place
from synaptic.results import plural

MOST_VOICES = 4  # more answers to one question crowd the editor's context


@dataclasses.dataclass(frozen=True)
class Cast:
    """`voices` answer the question, each for itself: with a critic one researcher, without one several equals."""

    voices: tuple[Place, ...]
    critic: Place | None
    editor: Place
    together: bool  # the voices and the critic speak at the same time
    why: str


def cast(strategy: str, places: Sequence[Place], *, editor: Place | None = None, others: Callable[[], Sequence[Place]] = tuple) -> Cast:
    """`places` can answer with the chosen model, best first; `editor`: another one for the synthesis; `others`: more for multi."""
    if strategy == "multi":
        return _voices(places, editor, others)
    if strategy == "gpu":
        with_gpu = [place for place in places if place.has_gpu]
        found = plural(len(with_gpu), "node") + " with a GPU" if with_gpu else "no node says it has a GPU"
        return _team(with_gpu or places, editor, together=len(with_gpu or places) > 1, why=found)
    is_parallel = strategy == "parallel"
    why = (
        f"{len(places)} nodes are ready" if len(places) > 1 else "they share one place" if is_parallel else "one place, one after the other"
    )
    return _team(places, editor, together=is_parallel or len(places) > 1, why=why)


def _team(places: Sequence[Place], editor: Place | None, *, together: bool, why: str) -> Cast:
    return Cast((places[0],), places[1 % len(places)], editor or places[0], together, why)


def _voices(places: Sequence[Place], editor: Place | None, others: Callable[[], Sequence[Place]]) -> Cast:
    found = [*places, *(others() if len(places) < 2 else ())][:MOST_VOICES]
    why = f"{len(found)} answers to choose from" if len(found) > 1 else "no second node or model is ready"
    return Cast(tuple(found), None, editor or places[0], together=True, why=why)
