"""Where a prompt for a .m model goes, and that it is answered there."""

from __future__ import annotations

import dataclasses

import pytest
from dllamas import DEMO_M, HOST
from ports import free_port

from synaptic.endpoint import Endpoint
from synaptic.engines.builtin import Roots
from synaptic.engines.dllama_routes import DllamaRoutes
from synaptic.engines.engine import Message, Request
from synaptic.errors import BackendError, EngineError
from synaptic.events import Bus
from synaptic.models.catalog import Catalog
from synaptic.settings.values import Values

pytestmark = [pytest.mark.anyio, pytest.mark.live]
CATALOG = Catalog(lambda: (), None)


@pytest.fixture
def routes(dllama_apis, dllama_workers):
    def make(*known: Endpoint, free: int | None = None, has_api: bool = True, **values: object) -> DllamaRoutes:
        dllama_workers.set_known((endpoint, "configured") for endpoint in known)
        chosen = Values(**{"context": 512, "distributed_inference_enabled": True, **values})
        roots = Roots(lambda: chosen, lambda: dllama_workers, Bus(), free=lambda: free)
        known = {"known": lambda: dllama_workers, "free": lambda: free}
        return DllamaRoutes(CATALOG, dllama_apis(), lambda: chosen, Bus(), roots=roots, has_api=lambda: has_api, **known)

    return make


async def test_it_goes_over_the_workers_that_listen_and_stays_there(routes, dllama_worker):
    workers = [dllama_worker() for _ in range(2)]
    absent = Endpoint(HOST, free_port(HOST))
    model = CATALOG.find(str(DEMO_M))
    assert DllamaRoutes.can(model)
    made = routes(workers[0].endpoint, absent, workers[1].endpoint)
    route = await made.route(model)
    assert (route.via, route.plan.workers) == ("dllama", (workers[0].endpoint,))
    assert route.why == (
        f"distributed is on; every layer is cut into 2: here and 1 worker; without {absent} (refuses: busy with a root, or down), "
        f"{workers[1].endpoint} (not needed: the nodes are a power of two, and 2 take part)"
    )
    asked = Request((Message("user", "What is a worker?"),), model.name)
    text = "".join([chunk.text async for chunk in made.attempt(route.plan).chunks(asked, ())])
    assert text
    again = await made.route(model)
    assert (again.plan, again.why) == (route.plan, "loaded there already")


async def test_with_distributed_off_or_no_workers_it_stays_here(routes, dllama_worker):
    model = CATALOG.find(str(DEMO_M))
    off = await routes(dllama_worker().endpoint, distributed_inference_enabled=False).route(model)
    assert (off.plan.workers, off.why) == ((), "distributed is off; this machine alone")
    none = await routes().route(model, via="dllama")
    assert (none.plan.workers, none.why, none.is_forced) == ((), "no dllama worker is known (dllama add); this machine alone", True)


async def test_what_cannot_be_is_said(routes):
    model = CATALOG.find(str(DEMO_M))
    with pytest.raises(BackendError, match="no dllama worker is ready: .* refuses: busy with a root, or down"):
        await routes(Endpoint(HOST, free_port(HOST))).route(model)
    rather = await routes(Endpoint(HOST, free_port(HOST))).route(model, goes_on=True)
    assert rather.plan.workers == ()
    with pytest.raises(EngineError, match="missing"):
        await routes(free=1000).route(model)
    assert not DllamaRoutes.can(dataclasses.replace(model, path=None))


async def test_without_dllama_api_the_built_in_root_takes_it(routes):
    model = CATALOG.find(str(DEMO_M))
    route = await routes(has_api=False).route(model)
    assert (route.via, route.plan.workers, route.is_forced) == ("builtin", (), False)
    forced = await routes().route(model, via="builtin")
    assert (forced.via, forced.is_forced) == ("builtin", True)
