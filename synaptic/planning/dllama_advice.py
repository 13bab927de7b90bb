"""What would make a distributed-llama model faster, and how much: each change is planned again. Pure. As advice.py does for llama.cpp."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from synaptic.errors import SynapticError
from synaptic.planning.advice import EFFORTS, HARDWARE, NEAR, SETTING, TWICE, WORTH, Fix
from synaptic.planning.dllama_plan import LAYERS, TENSOR, DllamaPlan, Question, plan_dllama
from synaptic.planning.dllama_speed import speed_of
from synaptic.planning.machine import Machine
from synaptic.results import plural


def advise_dllama(asked: Question, split: str) -> tuple[Fix, ...]:
    """`asked`: as it runs now, with `split`. Whatever is worth it: the cheapest first, then by what it gains."""
    now = _planned(asked, split)
    if now is None or not now.prediction.step:
        return ()
    found = [fix for fix in (*_settings(asked, now), *_hardware(asked, now)) if fix.gain >= WORTH]
    return tuple(sorted(found, key=lambda fix: (EFFORTS.index(fix.effort), -fix.gain)))


def _settings(asked: Question, now: DllamaPlan) -> Iterator[Fix]:
    for split in (LAYERS, TENSOR):
        if split != now.split and asked.workers:
            yield from _fix(now, _planned(asked, split), f"config set dllama_split {split}", SETTING)
    for worker in asked.workers if len(asked.workers) > 1 else ():
        rest = [each for each in asked.workers if each is not worker]
        machines = [each for each in asked.machines if each.endpoint != worker.endpoint]
        without = dataclasses.replace(asked, workers=rest, machines=machines)
        yield from _fix(now, _planned(without, now.split), f"dllama remove {worker.endpoint}", SETTING)


def _hardware(asked: Question, now: DllamaPlan) -> Iterator[Fix]:
    used = [each for each in asked.machines if each.endpoint in now.plan.workers]
    if far := [each for each in used if each.round_trip > NEAR]:
        nearer = [_nearer(each) for each in asked.machines]
        change = f"a link of {NEAR * 1000:g} ms a round trip to {plural(len(far), 'worker')}"
        yield from _fix(now, _planned(dataclasses.replace(asked, machines=nearer), now.split), change, HARDWARE)
    if used:
        slowest = min(used, key=speed_of)
        faster = [_faster(each) if each is slowest else each for each in asked.machines]
        change = f"{slowest.name} twice as fast"
        yield from _fix(now, _planned(dataclasses.replace(asked, machines=faster), now.split), change, HARDWARE)


def _planned(asked: Question, split: str) -> DllamaPlan | None:
    """None: it cannot be, or nothing is known of how fast it would be."""
    try:
        found = plan_dllama(asked, split)
    except SynapticError:
        return None
    return None if found.split != split or found.missing or found.prediction.is_assumed else found


def _fix(now: DllamaPlan, then: DllamaPlan | None, change: str, effort: str) -> Iterator[Fix]:
    if then is not None:
        yield Fix(change, effort, now.prediction.step / then.prediction.step)


def _nearer(machine: Machine) -> Machine:
    speed = machine.speed and dataclasses.replace(machine.speed, round_trip=min(machine.speed.round_trip, NEAR))
    return dataclasses.replace(machine, speed=speed, round_trip=min(machine.round_trip, NEAR))


def _faster(machine: Machine) -> Machine:
    speed = machine.speed
    if speed is None:
        return machine
    compute = speed.compute * TWICE if speed.compute else None
    return dataclasses.replace(machine, speed=dataclasses.replace(speed, bandwidth=speed.bandwidth * TWICE, compute=compute))
