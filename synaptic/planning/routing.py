"""Where a prompt goes, and why. Pure: values in, a value out; touches no socket and no clock."""

from __future__ import annotations

from collections.abc import Sequence

from synaptic.cluster.backend import Backend
from synaptic.errors import BackendError, EngineError
from synaptic.models.model import Model
from synaptic.planning.plan import LONGEST_DEFAULT_CONTEXT, Plan, Route
from synaptic.results import gib, plural

LLAMA_CPP = "llama.cpp"


def choose(model: Model, *, distributed: bool, workers: Sequence[Backend], context: int | None = None) -> Route:
    """`workers` are all that are known, with their state of this moment. Raises when nothing can hold the model."""
    tokens = min(context or LONGEST_DEFAULT_CONTEXT, model.context or LONGEST_DEFAULT_CONTEXT)
    if not distributed:
        return Route(LLAMA_CPP, Plan(model, (), tokens), "on this machine: distributed is off")
    ready = [worker for worker in workers if worker.is_ready]
    if not ready:
        raise BackendError("distributed is on, but no worker is ready" + _reasons(workers), hint=_way_out(workers))
    used = ready[: max(model.layers, 1)]  # a worker without a layer would only add a network hop
    _check_memory(model, used)
    return Route(LLAMA_CPP, Plan(model, tuple(worker.endpoint for worker in used), tokens), _why(used, workers))


def _why(used: Sequence[Backend], workers: Sequence[Backend]) -> str:
    lost = [worker for worker in workers if not worker.is_ready]
    left_out = len(workers) - len(lost) - len(used)
    why = "distributed is on"
    if lost:
        why += f"; without {', '.join(f'{worker.endpoint} ({worker.state.value})' for worker in lost)}"
    if left_out:
        why += f"; {plural(left_out, 'worker')} left out: fewer layers than workers"
    return why


def _check_memory(model: Model, used: Sequence[Backend]) -> None:
    room = sum(worker.free_bytes for worker in used)
    if 0 < room < model.bytes:
        missing = gib(model.bytes - room)
        have = f"{plural(len(used), 'worker')} offer {gib(room)}" if len(used) > 1 else f"one worker offers {gib(room)}"
        raise EngineError(f"{model.name} needs {gib(model.bytes)} and {have}: {missing} missing", hint="try: rpc add another worker")


def _reasons(workers: Sequence[Backend]) -> str:
    return "".join(f"; {worker.endpoint} {worker.detail or worker.state.value}" for worker in workers[:3])


def _way_out(workers: Sequence[Backend]) -> str:
    return "try: rpc check, or: distributed off" if workers else "try: rpc discover, or: worker start --count 2, or: distributed off"
