"""worker: rpc-servers on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import local_workers
from synaptic.commands.grammar import AnyNumber, Choice, Complete
from synaptic.commands.registry import registry
from synaptic.endpoint import Endpoint
from synaptic.results import Note, Rows, plural

if TYPE_CHECKING:
    from synaptic.process.workers import LocalWorker
    from synaptic.session import Session


@registry.command("worker start", group="workers")
async def start(
    session: Session,
    *,
    engine: Annotated[str, Choice("llama.cpp")] = "llama.cpp",
    count: int = 1,
    host: str = "127.0.0.1",
    port: int | None = None,
    threads: int | None = None,
) -> Note:
    """Start workers on this machine and use them. They listen on 127.0.0.1 unless --host says otherwise.

    In the shell they end with it, unless you leave with `exit --keep`; from the command line they stay until
    `worker stop`. Their protocol has no key: name another --host only on a network you trust.

        worker start
        worker start --count 2 --threads 4
        worker start --host 192.168.1.10

    See also: worker list, worker stop, rpc list
    """
    started = await session.workers.start(count, host=host, port=port, threads=threads, stay=not session.is_shell)
    endpoints = [worker.endpoint for worker in started]
    pool = session.know_backends()
    await pool.check(endpoints)
    text = f"{plural(len(started), engine + ' worker')} started: {', '.join(map(str, endpoints))}"
    hint = None if session.settings.now.distributed_inference_enabled else "distributed on spreads the next model over them"
    return Note(text, {"workers": started}, hint=hint)


@registry.command("worker stop", group="workers")
async def stop(session: Session, *endpoint: Annotated[Endpoint, AnyNumber(), Complete(local_workers)]) -> Note:
    """Stop workers that were started on this machine with `worker start`; without a name, all of them."""
    stopped = await session.workers.stop(list(endpoint) or None)
    session.know_backends()
    if not stopped:
        return Note("no workers run on this machine", {"stopped": []})
    return Note(f"{plural(len(stopped), 'worker')} stopped: {', '.join(map(str, stopped))}", {"stopped": stopped})


@registry.command("worker list", group="workers")
async def list_(session: Session) -> Rows[LocalWorker]:
    """Show the workers that were started on this machine, by this shell or another."""
    return Rows(
        key="workers",
        items=session.workers.all(),
        columns={
            "endpoint": lambda worker: str(worker.endpoint),
            "engine": lambda worker: worker.engine,
            "pid": lambda worker: str(worker.pid),
            "log": lambda worker: str(worker.log),
        },
        empty="no workers run on this machine. try: worker start",
    )
