from __future__ import annotations

import pytest

from synaptic.commands.doctor import exposed
from synaptic.endpoint import Endpoint


@pytest.mark.parametrize("worker", ["8.8.8.8:50052", "1.1.1.1:9999"])
def test_a_worker_at_a_public_address_is_a_failure_with_a_way_out(worker: str) -> None:
    (check,) = exposed([Endpoint.parse(worker)])
    assert (check.mark, check.what) == ("✗", worker)
    assert "has no key" in check.detail
    assert "--relay-tls" in check.fix


def test_workers_of_this_machine_and_of_private_networks_are_not() -> None:
    assert list(exposed(map(Endpoint.parse, ["127.0.0.1", "192.168.1.10", "10.0.0.5", "[fd00::1]:50052", "node1"]))) == []
