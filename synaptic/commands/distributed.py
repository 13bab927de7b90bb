"""distributed: whether models are spread over the workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.discover import rpc_discover
from synaptic.commands.grammar import Choice
from synaptic.commands.registry import registry
from synaptic.errors import BackendError
from synaptic.events import Noticed
from synaptic.results import Lines, Note, plural

if TYPE_CHECKING:
    from synaptic.cluster.backend import Backend
    from synaptic.session import Session

_WORDS = ("on", "off", "task", "model", "both")


@registry.command("distributed", group="models")
async def distributed(session: Session, switch: Annotated[str, Choice(*_WORDS)] = "") -> Note:
    """Spread models over the known workers (on), or keep them on this machine (off).

    Without a word it shows which. `model` and `both` mean on, `task` means off; the chosen model is never touched.

        distributed
        distributed on
        distributed off

    See also: rpc list, status
    """
    if switch in ("off", "task"):
        await session.save(distributed_inference_enabled=False)
        return Note("distributed off · models run on this machine", {"distributed": False, "ready": 0})
    workers, ready = await _workers(session)
    if not switch:
        return _state(session, len(ready))
    if not workers:
        workers = await _look_for_some(session)
        ready = [worker for worker in workers if worker.is_ready]
    if not workers:
        raise BackendError("no workers are known", hint="try: rpc discover, or: worker start --count 2")
    if not ready:
        reasons = "; ".join(f"{worker.endpoint} {worker.detail or worker.state.value}" for worker in workers[:3])
        raise BackendError(f"no worker is ready: {reasons}", hint="try: rpc check")
    await session.save(distributed_inference_enabled=True)
    text = f"distributed on · {plural(len(ready), 'worker')} ready. Large models start a coordinator when first asked."
    return Note(text, {"distributed": True, "ready": len(ready)})


async def _workers(session: Session) -> tuple[Sequence[Backend], list[Backend]]:
    """Those that are known, and which of them are ready."""
    workers = await session.know_backends().check()
    ready = [worker for worker in workers if worker.is_ready]
    if not ready and (others := await session.know_dllama().check()):  # a .m model needs no rpc-server
        return others, [worker for worker in others if worker.is_there]
    return workers, ready


def _state(session: Session, ready: int) -> Note:
    on = session.settings.now.distributed_inference_enabled
    way = "they hold large models; distributed off keeps models here" if on else "models run on this machine; distributed on spreads them"
    return Note(f"distributed {'on' if on else 'off'} · {plural(ready, 'worker')} ready", {"distributed": on, "ready": ready}, hint=way)


async def _look_for_some(session: Session) -> list[Backend]:
    """Discovery, if the user wants it: nothing is scanned unasked."""
    from synaptic.services import cannot_ask

    if session.confirm is cannot_ask or not await session.confirm("no workers are known. look for some on this machine's networks?"):
        return []
    looking = await rpc_discover(session)
    if isinstance(looking, Lines):
        async for line in looking.lines:
            session.bus.publish(Noticed(text=line))
    return await session.know_backends().check()
