"""
Which node answers a prompt for a model: the one where it would be over first. Pure.

A node is as far away as loading the model there (unless it is in memory), the requests before ours, and ours. Among
equals the higher priority counts, then the shorter way, then the emptier memory.

One that tells its load (vLLM) writes many answers at once: those that run slow ours down a little, those that wait
come before it, and with a KV cache that is full it waits for one of them to end.
"""

from __future__ import annotations

from collections.abc import Sequence

from synaptic.cluster.node import NodeState
from synaptic.cluster.server_load import ServerLoad
from synaptic.models.model import Model, Offer
from synaptic.results import plural

ANSWER = 200  # tokens of a usual answer
SPEED = 20.0  # tokens/s, of one that nothing is known of, where nothing is known of the others either
LOADING = 1e9  # bytes/s from a disk to memory
LEAST_LOADING = 2.0  # seconds
EQUAL = 0.5  # seconds; less is no difference
NEAR = 5.0  # ms; less is no difference
SHARED = 0.03  # of an answer's time that each other one in the same batch adds: weights are read once for all of them
FULL = 0.95  # of a KV cache; then the next answer waits, or puts another out


def rank(states: Sequence[NodeState], model: Model) -> list[tuple[NodeState, str]]:
    """Best first, each with what speaks for it. Those that are not ready, or do not offer the model, are left out."""
    offers = {offer.node: offer for offer in model.offers}
    able = [(state, offers[state.node.url]) for state in states if state.is_ready and state.node.url in offers]
    usual = _usual_speed([state for state, _ in able])
    able.sort(key=lambda each: _order(each[0], each[1], usual))
    return [(state, _why(state, offer)) for state, offer in able]


def seconds(state: NodeState, offer: Offer, usual: float) -> float:
    """Until a usual answer would be over. `usual`: tokens/s of a node that was not measured yet."""
    loading = 0.0 if offer.is_loaded else max(LEAST_LOADING, offer.bytes / LOADING)
    answer = ANSWER / (state.tokens_per_second or _told_speed(state) or usual)
    return loading + (answer * _before(state.load, state.running) if state.load else (state.running + 1) * answer)


def _before(load: ServerLoad, ours: int) -> float:
    """In answers, ours counted: one place comes free each time one of those that run ends."""
    running = max(load.running, ours)
    is_full = load.waiting > 0 or (load.kv_used or 0.0) >= FULL
    return 1 + SHARED * running + ((load.waiting + 1) / max(running, 1) if is_full else 0.0)


def _told_speed(state: NodeState) -> float | None:
    return 1 / state.load.itl.p50 if state.load and state.load.itl and state.load.itl.p50 else None


def _order(state: NodeState, offer: Offer, usual: float) -> tuple[object, ...]:
    return (
        round(seconds(state, offer, usual) / EQUAL),
        -state.node.priority,
        round((state.latency_ms or 0.0) / NEAR),
        state.memory or 0,
        state.node.url,
    )


def _usual_speed(states: Sequence[NodeState]) -> float:
    """The best that was measured: so one that is new gets its chance, once."""
    return max((speed for state in states if (speed := state.tokens_per_second or _told_speed(state))), default=SPEED)


def _why(state: NodeState, offer: Offer) -> str:
    parts = [
        "its model is loaded" if offer.is_loaded else "",
        f"{plural(state.running, 'request')} of ours there" if state.running else "",
        *_told(state.load),
        f"{state.tokens_per_second:.0f} tok/s" if state.tokens_per_second else "",
        f"{state.latency_ms:.0f} ms away" if state.latency_ms is not None else "",
        f"priority {state.node.priority}" if state.node.priority else "",
    ]
    return ", ".join(filter(None, parts))


def _told(load: ServerLoad | None) -> list[str]:
    if load is None:
        return []
    cache = f"its KV cache {load.kv_used:.0%} full" if load.kv_used and load.kv_used >= 0.5 else ""
    return [f"{load.running} running and {load.waiting} waiting there" if load.running or load.waiting else "", cache]
