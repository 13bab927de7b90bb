"""
What would make answers come faster, and how much: each change is put through the cost model again. Pure.

The cheapest come first: a setting costs nothing, another file of the model costs its quality, hardware costs money.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from synaptic.planning.costmodel import predict
from synaptic.planning.expected import Expectation
from synaptic.planning.filling import fits_in
from synaptic.planning.machine import Machine
from synaptic.planning.placement import place
from synaptic.planning.shape import KV_TYPES, Shape
from synaptic.planning.speeds import Speed
from synaptic.results import plural

SETTING, MODEL, HARDWARE = "a setting", "another file", "hardware"
EFFORTS = (SETTING, MODEL, HARDWARE)
WORTH = 1.05  # times as many tokens; less is not worth a change
MORE_SLOTS = 4
SMALLER, BITS = "Q4_K_M", 4.85  # a usual quantization, and the bits that a weight takes in it
NEAR = 0.2e-3  # seconds of a round trip over a good switch
TWICE = 2.0


@dataclasses.dataclass(frozen=True)
class Fix:
    """`gain`: times the tokens/s of now; of each answer, or of `answers` that are written at the same time together."""

    change: str
    effort: str
    gain: float
    answers: int = 1

    def __str__(self) -> str:
        together = f" for {self.answers} answers together" if self.answers > 1 else ""
        return f"{self.change} ({self.gain - 1:+.0%} tokens/s predicted{together})"


def advise(now: Expectation) -> tuple[Fix, ...]:
    """Whatever is worth it: the cheapest first, then by what it gains."""
    found = [fix for fix in (*_settings(now), *_models(now), *_hardware(now)) if fix.gain >= WORTH]
    return tuple(sorted(found, key=lambda fix: (EFFORTS.index(fix.effort), -fix.gain)))


def said_in_one_sentence(bottleneck: str, fixes: Sequence[Fix]) -> str:
    """The bottleneck, the cheapest fix, and the one that gains most where that is another."""
    if not fixes:
        return f"{bottleneck}; no change that we know of would gain {WORTH - 1:.0%}"
    cheapest, best = fixes[0], max(fixes, key=lambda fix: fix.gain)
    also = f", or {best}" if best is not cheapest else ""
    return f"{bottleneck}; cheapest fix: {cheapest}{also}"


def _settings(now: Expectation) -> Iterator[Fix]:
    base = now.predicted().step
    counts = [share.layers for share in now.shares]
    if now.plan.slots < MORE_SLOTS and fits_in(now.demand(MORE_SLOTS), now.machines, counts):
        together = now.predicted(at_once=MORE_SLOTS).expected
        yield Fix(f"config set parallel {MORE_SLOTS}", SETTING, together * base, MORE_SLOTS)
    if now.plan.kv_type != "q8_0" and "q8_0" in KV_TYPES:
        said = predict(now.shape, now.shares, now.machines, now.plan.context, kv_type="q8_0")
        yield Fix("config set kv_type q8_0", SETTING, base / said.step)
    for machine in now.machines if len(now.machines) > 1 else ():
        rest = [each for each in now.machines if each is not machine]
        placed = place(now.shape, rest, context=now.plan.context, slots=now.plan.slots, must_use_all=True, kv_type=now.plan.kv_type)
        if placed.fits:
            yield Fix(f"rpc remove {machine.name}", SETTING, base / placed.prediction.step)


def _models(now: Expectation) -> Iterator[Fix]:
    shape = now.shape
    bits = 8 * shape.bytes / max(shape.parameters, 1)
    if bits > BITS * WORTH:
        said = predict(_smaller(shape, BITS / bits), now.shares, now.machines, now.plan.context, kv_type=now.plan.kv_type)
        yield Fix(f"the same model in {SMALLER}, if its answers are still good enough", MODEL, now.predicted().step / said.step)


def _smaller(shape: Shape, part: float) -> Shape:
    return dataclasses.replace(
        shape,
        layer_bytes=tuple(round(size * part) for size in shape.layer_bytes),
        output_bytes=round(shape.output_bytes * part),
        embedding_bytes=round(shape.embedding_bytes * part),
        quantization=SMALLER,
    )


def _hardware(now: Expectation) -> Iterator[Fix]:
    far = [machine for machine in now.machines if machine.endpoint and machine.round_trip > NEAR]
    if far:
        nearer = [dataclasses.replace(each, round_trip=min(each.round_trip, NEAR)) for each in now.machines]
        yield _with(now, nearer, f"a link of {NEAR * 1000:g} ms a round trip to {plural(len(far), 'worker')}")
    slowest = max(now.predicted().works, key=lambda term: term.seconds).whose
    faster = [_faster(machine) if machine.name == slowest else machine for machine in now.machines]
    if any(machine.speed for machine in faster):
        yield _with(now, faster, f"memory twice as fast in {slowest}")


def _with(now: Expectation, machines: Sequence[Machine], change: str) -> Fix:
    said = dataclasses.replace(now, machines=tuple(machines)).predicted()
    return Fix(change, HARDWARE, now.predicted().step / said.step)


def _faster(machine: Machine) -> Machine:
    speed = machine.speed
    if speed is None:
        return machine
    twice = Speed(speed.bandwidth * TWICE, speed.round_trip, speed.link, speed.measured_at, speed.compute)
    return dataclasses.replace(machine, speed=twice)
