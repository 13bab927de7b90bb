"""
Whether targets can be reached at all, by the cost model, before anyone measures or buys. Pure.

A ceiling is physics: all weights of all stages must be read for each token, one stage after another, and so with one
answer at a time no stage of n works more than about 1/n of the time. A range is a prediction, as planning/costmodel.py
makes it.
"""

from __future__ import annotations

import dataclasses

from synaptic.bench.targets import Bound, Subject, Target
from synaptic.endpoint import RPC_PORT, Endpoint
from synaptic.planning.costmodel import INPUTS, Prediction, predict
from synaptic.planning.machine import Machine, Share
from synaptic.planning.shape import Shape
from synaptic.planning.speeds import Speed

EXPECTED, OPEN, UNEXPECTED, IMPOSSIBLE, SILENT = "expected", "open", "not expected", "impossible", "the model cannot say"
MEMORY = (0.98, 1.10)  # of the predicted bytes: contexts of the driver and larger buffers


@dataclasses.dataclass(frozen=True)
class Reach:
    """What a metric can be: predicted `low` to `high`; `ceiling` None: none is known. `why` in words."""

    low: float
    high: float
    ceiling: float | None
    why: str

    def of(self, bound: Bound) -> str:
        if bound.is_least and self.ceiling is not None and bound.value > self.ceiling:
            return IMPOSSIBLE
        holds = bound.holds(self.low), bound.holds(self.high)
        return EXPECTED if all(holds) else OPEN if any(holds) else UNEXPECTED


def reach(subject: Subject, target: Target) -> Reach | None:
    """None: of this metric the cost model says nothing."""
    shape, shares, machines = placed(subject)
    said = predict(shape, shares, machines, subject.context, slots=subject.slots, prompt=subject.prompt)
    match target.metric:
        case "throughput":
            return _throughput(subject, shape, shares, said)
        case "tpot" | "itl":
            low, high = said.tokens_per_second
            return Reach(1000 * subject.slots / high, 1000 * subject.slots / low, None, said.bottleneck)
        case "ttft":
            return Reach(
                *said.ttft_ms, None, f"a prompt of {subject.prompt} tokens is computed on {len(shares)} machines, one after another"
            )
        case "gpu_busy":
            return _busy(said, shares)
        case "gpu_memory":
            most = max(share.bytes for share in shares) / 1e9
            return Reach(most * MEMORY[0], most * MEMORY[1], None, f"the fullest of {len(shares)} holds {most:.1f} GB")
        case "network":
            return _network(subject, said)
    return None


def placed(subject: Subject) -> tuple[Shape, list[Share], list[Machine]]:
    """Its layers evenly over its machines, in their order."""
    shape, count = _shape(subject), len(subject.machines)
    shares, machines, first = [], [], 0
    for place, stage in enumerate(subject.machines):
        endpoint = Endpoint(stage.name, RPC_PORT) if place else None
        layers = subject.layers // count + (place < subject.layers % count)
        kv, compute = shape.kv_bytes(layers, subject.context, subject.slots), shape.compute_bytes(subject.context)
        shares.append(Share(endpoint, layers, shape.weights(first, first + layers), kv, compute, first))
        machines.append(Machine(endpoint, None, Speed(stage.bandwidth, stage.round_trip, stage.link), stage.round_trip))
        first += layers
    return shape, shares, machines


def _shape(subject: Subject) -> Shape:
    """A dense model, whose embedding and output are of the same size."""
    table = round(subject.bytes / subject.parameters * subject.vocabulary * subject.embedding)
    layer = round((subject.bytes - 2 * table) / subject.layers)
    inside = subject.parameters * layer / subject.bytes
    kv = 2 * subject.kv_heads * subject.head_length
    return Shape(
        layer_bytes=(layer,) * subject.layers,
        output_bytes=table,
        embedding_bytes=table,
        kv_elements=kv,
        embedding_length=subject.embedding,
        feed_forward=max(0, round((inside - 2 * subject.embedding**2 - subject.embedding * kv) / (3 * subject.embedding))),
        vocabulary=subject.vocabulary,
        parameters=round(subject.parameters),
        active_parameters=round(subject.parameters),
        quantization=subject.quantization,
    )


def _throughput(subject: Subject, shape: Shape, shares: list[Share], said: Prediction) -> Reach:
    read = [
        shape.read_per_token(share.first, share.first + share.layers) / stage.bandwidth
        for share, stage in zip(shares, subject.machines, strict=True)
    ]
    ceiling = subject.slots / sum(read)
    low, high = said.tokens_per_second
    return Reach(low, min(high, ceiling), ceiling, f"memory bandwidth alone allows {ceiling:.1f}; {said.bottleneck}")


def _busy(said: Prediction, shares: list[Share]) -> Reach:
    """The share of a token's time in which each machine works."""
    works = [100 * term.seconds / said.step for term in said.works]
    least, most = f"{min(works):.0f}", f"{max(works):.0f}"
    share = f"{least} %" if least == most else f"{least} to {most} %"
    told = f"with {said.slots} at a time, each of {len(shares)} machines one after another works {share} of the time"
    return Reach(min(works), max(works), max(works), told)


def _network(subject: Subject, said: Prediction) -> Reach:
    """Gbit/s while answers are written: activations up and down for each worker, and the last one's logits."""
    workers = len(subject.machines) - 1
    token = workers * (8 * subject.embedding + INPUTS) + (4 * (subject.vocabulary - subject.embedding) if workers else 0)
    low, high = (rate * token * 8 / 1e9 for rate in said.tokens_per_second)
    return Reach(low, high, high, f"{token / 1e3:.0f} kB pass for each token: what the link could do is another question (bench link)")
