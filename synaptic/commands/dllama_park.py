"""dllama park and unpark: free workers that nobody else can connect to, and so nobody can end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import dllama_backends
from synaptic.commands.dllama import DllamaEndpoint
from synaptic.commands.grammar import AnyNumber, Complete
from synaptic.commands.registry import registry
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError
from synaptic.results import Note, plural

if TYPE_CHECKING:
    from synaptic.cluster.backend import Backend
    from synaptic.session import Session


@registry.command("dllama park", group="workers")
async def park(session: Session, *endpoint: Annotated[DllamaEndpoint, AnyNumber(), Complete(dllama_backends)]) -> Note:
    """Hold on to free dllama workers, these or all known ones, so that no port scan can end them.

    A free worker of distributed-llama ends when anybody connects who is no root. A parked one has no open port and
    computes nothing; a prompt of yours takes it when it needs it, and it is parked again afterwards. All are let go when
    you leave. From the command line they are parked until Ctrl-C.

        dllama park
        dllama park 192.168.1.10

    See also: dllama unpark, dllama list, dllama check
    """

    workers = session.know_dllama()
    looked = await workers.check(endpoint or None)
    if not looked:
        raise BackendError("no dllama worker is known", hint="try: dllama add HOST, or: dllama discover")
    before = set(workers.parking.parked)
    there = [each.endpoint for each in looked if each.is_there and each.endpoint not in before]
    with session.bus.work(f"parking {plural(len(there), 'worker')}"):
        troubles = await workers.parking.park(there)
    troubles |= {each.endpoint: each.detail or each.state.value for each in looked if not each.is_there}
    return _parked(looked, workers.parking.parked, troubles)


@registry.command("dllama unpark", group="workers")
async def unpark(session: Session, *endpoint: Annotated[DllamaEndpoint, AnyNumber(), Complete(dllama_backends)]) -> Note:
    """Let parked workers go, these or all. They listen again, for whatever root comes.

        dllama unpark

    See also: dllama park
    """
    parking = session.know_dllama().parking
    missing = [each for each in endpoint if each not in parking.parked]
    if missing:
        raise BackendError(f"not parked here: {', '.join(map(str, missing))}", hint="try: dllama list")
    freed = await parking.unpark(endpoint or None)
    text = f"{plural(len(freed), 'worker')} listen{'s' if len(freed) == 1 else ''} again" if freed else "no worker is parked here"
    return Note(text, {"unparked": freed})


def _parked(looked: Sequence[Backend], parked: Sequence[Endpoint], troubles: Mapping[Endpoint, str]) -> Note:
    held = [each.endpoint for each in looked if each.endpoint in parked]
    reasons = [f"  {endpoint}: {why}" for endpoint, why in troubles.items()]
    if not held:
        raise BackendError("no worker could be parked", hint="try: dllama check", details=tuple(reasons))
    text = f"{plural(len(held), 'worker')} parked: {', '.join(map(str, held))}"
    document = {"parked": held, "others": [{"endpoint": endpoint, "why": why} for endpoint, why in troubles.items()]}
    return Note("\n".join([text, *reasons]), document, hint="dllama unpark lets them go, and so does the end of this shell", holds=True)
