"""What workers state of themselves, made into machines: no memory twice, none that is not there."""

from __future__ import annotations

from synaptic.cluster.backend import Backend, Device, Kind, State
from synaptic.endpoint import Endpoint
from synaptic.planning.machine import machines_of
from synaptic.planning.speeds import Speed

GIB = 1 << 30
TOTAL, AVAILABLE = 24 * GIB, 10 * GIB


def worker(host: str, port: int, free: int, total: int, latency: float = 2.0, devices: int = 1) -> Backend:
    each = tuple(Device(f"RPC{number}", free, total) for number in range(devices))
    return Backend(Endpoint(host, port), Kind.RPC, State.IDLE, "7.0.0", each, latency)


def machines(*workers: Backend, speeds: dict[Endpoint, Speed] | None = None):
    return machines_of(workers, speeds or {}, own={"10.0.0.1"}, available=AVAILABLE, total=TOTAL)


def test_workers_of_this_machine_share_what_is_available_and_have_no_way_to_go() -> None:
    first, second = machines(worker("127.0.0.1", 1, TOTAL, TOTAL), worker("10.0.0.1", 2, TOTAL, TOTAL))
    assert first.memory == second.memory == "here"
    assert first.free == second.free == AVAILABLE
    assert first.round_trip == second.round_trip == 0.0


def test_cpu_workers_of_another_machine_share_its_memory() -> None:
    first, second, other = machines(
        worker("10.0.0.2", 1, 8 * GIB, 8 * GIB), worker("10.0.0.2", 2, 8 * GIB, 8 * GIB), worker("10.0.0.3", 1, GIB, GIB)
    )
    assert first.memory == second.memory == "10.0.0.2"
    assert other.memory == "10.0.0.3"
    assert first.free == 8 * GIB
    assert first.round_trip == 0.002


def test_accelerators_of_one_machine_have_each_their_own() -> None:
    first, second = machines(worker("10.0.0.2", 1, 30 * GIB, 32 * GIB), worker("10.0.0.2", 2, 31 * GIB, 32 * GIB))
    assert first.memory is second.memory is None
    assert (first.free, second.free) == (30 * GIB, 31 * GIB)


def test_a_worker_with_several_accelerators_names_each() -> None:
    (machine,) = machines(worker("10.0.0.2", 1, 30 * GIB, 32 * GIB, devices=2))
    assert machine.free == 60 * GIB
    assert machine.devices == (30 * GIB, 30 * GIB)


def test_a_measured_round_trip_counts_more_than_a_handshake() -> None:
    speed = Speed(1e9, 0.0003, measured_at=1.0)
    (machine,) = machines(worker("10.0.0.2", 1, GIB, 2 * GIB), speeds={Endpoint("10.0.0.2", 1): speed})
    assert machine.round_trip == 0.0003
    assert machine.speed == speed


def test_one_that_never_said_what_it_has_is_taken_as_enough() -> None:
    (machine,) = machines(Backend(Endpoint("10.0.0.2", 1), Kind.RPC, State.IDLE))
    assert machine.free is None
    assert machine.round_trip == 0.0
