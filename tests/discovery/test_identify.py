"""What a port is asked as, and when it is better not asked at all."""

from __future__ import annotations

import pytest

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.handshake import Foreign
from synaptic.cluster.pool import Pool, Version
from synaptic.discovery.identify import Identifier
from synaptic.endpoint import Endpoint
from synaptic.events import Bus

pytestmark = pytest.mark.anyio


class Shaker:
    """Whoever is asked answers as an idle rpc-server."""

    def __init__(self) -> None:
        self.asked: list[Endpoint] = []
        self.pool = Pool(Bus(), shake=self.shake)

    async def shake(self, endpoint: Endpoint, *, within: float, speaks: Version | None) -> Backend:
        self.asked.append(endpoint)
        return Backend(endpoint, Kind.RPC, State.IDLE, "7.0.0")


@pytest.mark.parametrize("port", [9999, 9998, 9990])
async def test_a_port_of_dllama_workers_is_not_greeted_as_an_rpc_server(port):
    shaker, endpoint = Shaker(), Endpoint("127.0.9.3", port)
    answer = await Identifier(shaker.pool).identify(endpoint, Kind.RPC)
    assert isinstance(answer, Foreign)
    assert (answer.reason, shaker.asked) == ("dllama", [])


async def test_unless_someone_uses_it_for_one():
    shaker, endpoint = Shaker(), Endpoint("127.0.9.3", 9999)
    shaker.pool.add([endpoint], "configured")
    answer = await Identifier(shaker.pool).identify(endpoint, Kind.RPC)
    assert isinstance(answer, Backend)
    assert (answer.state, answer.source, shaker.asked) == (State.IDLE, "configured", [endpoint])


@pytest.mark.parametrize(("port", "reason"), [(9999, "dllama"), (9998, "dllama"), (9990, "closed"), (8123, "closed")])
@pytest.mark.parametrize("kind", [Kind.OLLAMA, Kind.OPENAI])
async def test_only_the_port_that_dllama_api_has_too_is_asked_for_http(port, reason, kind):
    answer = await Identifier(Shaker().pool).identify(Endpoint("127.0.9.3", port), kind)  # nobody listens there
    assert isinstance(answer, Foreign)
    assert answer.reason == reason
