"""Which layers a plan's split gives to each of its workers: as the placement that made it meant them."""

from __future__ import annotations

import pytest
from bench.tunes import MODEL, A, B

from synaptic.planning.filling import tensor_split
from synaptic.planning.machine import Machine
from synaptic.planning.plan import Plan


@pytest.mark.parametrize("devices", [(1, 1), (2, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("counts", [[30, 2], [16, 16], [1, 31]])
def test_a_split_tells_the_layers_it_was_made_from(devices: tuple[int, int], counts: list[int]) -> None:
    machines = [Machine(at, None, devices=(8, 8, 8)[:count] if count > 1 else ()) for at, count in zip((A, B), devices, strict=True)]
    plan = Plan(MODEL, (A, B), 2048, tensor_split=tensor_split(machines, counts))
    assert plan.layers(devices) == counts
    assert plan.layers() == (counts if devices == (1, 1) else None), "of several devices it is not known whose each is"


def test_without_a_split_the_engine_decides() -> None:
    assert Plan(MODEL, (A, B), 2048).layers() is None
    assert Plan(MODEL, (), 2048).layers() is None
