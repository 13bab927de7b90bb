"""worker: workers on this machine, llama.cpp's or our own for distributed-llama."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.cache import folder_of
from synaptic.commands.complete import local_workers
from synaptic.commands.grammar import AnyNumber, Choice, Complete
from synaptic.commands.registry import registry
from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError, os_reason
from synaptic.results import Note, Rows, plural

if TYPE_CHECKING:
    from synaptic.process.workers import LocalWorker
    from synaptic.session import Session

RPC, BUILTIN = "llama.cpp", "builtin"  # as synaptic.process.worker_command has them, which takes a moment to import


@registry.command("worker start", group="workers")
async def start(
    session: Session,
    *,
    engine: Annotated[str, Choice(RPC, BUILTIN)] = RPC,
    count: int = 1,
    host: str = "127.0.0.1",
    port: int | None = None,
    threads: int | None = None,
    cache: bool = False,
    relay_tls: Path | None = None,
    relay_clients: Path | None = None,
    model: Path | None = None,
) -> Note:
    """Start workers on this machine and use them. They listen on 127.0.0.1 unless --host says otherwise.

    In the shell they end with it, unless you leave with `exit --keep`; from the command line they stay until
    `worker stop`. Their protocol has no key: name another --host only on a network you trust. With --cache they keep
    every tensor of more than 10 MiB on disk and are not sent it again; `cache seed` fills that from a file.

    `--engine builtin` starts our own worker for distributed-llama, which needs numpy and no compiler. It serves roots of
    ours and the original's, one at a time, and is not harmed by whoever else connects. With --model FILE.m it reads the
    weights of that model from there, and a root of ours sends it none.

    With --relay-tls FILE the worker listens on 127.0.0.1 only, and a relay at --host speaks TLS for it with the certificate
    of FILE, whose key is in it or beside it as NAME.key. --relay-clients FILE lets in only those that show one of its own.

        worker start
        worker start --count 2 --threads 4 --cache
        worker start --host 192.168.1.10
        worker start --host 192.168.1.10 --relay-tls worker.pem --relay-clients ours.pem
        worker start --engine builtin --host 192.168.1.10
        worker start --engine builtin --model ~/models/qwen3-8b.m

    See also: worker list, worker stop, rpc list, dllama list, cache list
    """
    folder = await _cache_folder(session, engine) if cache else None
    kind, stay = _kind(engine, relay_tls, relay_clients), not session.is_shell
    tls = {"certificate": relay_tls, "clients": relay_clients}
    if model:
        await _check_model(engine, model)
    started = await session.workers.start(
        count, host=host, port=port, threads=threads, cache=folder, engine=kind, stay=stay, model=model, **tls
    )
    text = f"{plural(len(started), engine + ' worker')} started: {', '.join(str(worker.endpoint) for worker in started)}"
    return Note(text, {"workers": started}, hint=await _used(session, engine, [worker.endpoint for worker in started], relay_tls))


@registry.command("worker stop", group="workers")
async def stop(session: Session, *endpoint: Annotated[Endpoint, AnyNumber(), Complete(local_workers)]) -> Note:
    """Stop workers that were started on this machine with `worker start`; without a name, all of them.

        worker stop 127.0.0.1:50052
        worker stop

    See also: worker list, worker start
    """
    local = endpoint or [worker.endpoint for worker in session.workers.all()]
    await session.know_dllama().parking.unpark(local)
    stopped = await session.workers.stop(list(endpoint) or None)
    session.know_backends()
    session.know_dllama()
    if not stopped:
        return Note("no workers run on this machine", {"stopped": []})
    return Note(f"{plural(len(stopped), 'worker')} stopped: {', '.join(map(str, stopped))}", {"stopped": stopped})


@registry.command("worker list", group="workers")
async def list_(session: Session) -> Rows[LocalWorker]:
    """Show the workers that were started on this machine, by this shell or another.

    See also: worker start, worker stop, rpc list
    """
    return Rows(
        key="workers",
        items=session.workers.all(),
        columns={
            "endpoint": lambda worker: str(worker.endpoint),
            "engine": lambda worker: worker.engine,
            "pid": lambda worker: str(worker.pid),
            "cache": lambda worker: "yes" if worker.cache else "",
            "log": lambda worker: str(worker.log),
        },
        empty="no workers run on this machine. try: worker start",
    )


async def _cache_folder(session: Session, engine: str) -> Path:
    from synaptic.models.tensor_cache import made

    if engine != RPC:
        raise UsageError(f"--cache is for {RPC}'s workers", hint="leave it out")
    return await asyncio.to_thread(made, folder_of(session))


async def _check_model(engine: str, model: Path) -> None:
    """UsageError for one that a worker could not read."""
    from synaptic.dllama.header import NotAModelError, read_header

    if engine != BUILTIN:
        raise UsageError(f"--model is for {BUILTIN} workers", hint="leave it out, or add --engine builtin")
    try:
        await asyncio.to_thread(read_header, model)
    except OSError as error:
        raise UsageError(f"cannot read {model}: {os_reason(error)}", hint="name a .m file of this machine") from error
    except NotAModelError as error:
        raise UsageError(f"{model} {error}", hint="name a .m file of this machine") from error


def _kind(engine: str, certificate: Path | None, clients: Path | None) -> str:
    from synaptic.process.worker_command import RPC_TLS

    if certificate and engine != RPC:
        raise UsageError(f"--relay-tls is for {RPC}'s workers", hint="leave it out")
    if clients and not certificate:
        raise UsageError("--relay-clients needs --relay-tls", hint="a relay without TLS sees no certificates")
    return RPC_TLS if certificate else engine


async def _used(session: Session, engine: str, endpoints: list[Endpoint], certificate: Path | None) -> str | None:
    """What to do next."""
    if certificate:
        from synaptic.process.relay_trust import fingerprint_of

        lines = ", ".join(f'"{endpoint} {fingerprint_of(certificate)}"' for endpoint in endpoints)
        return f"where the coordinator runs: rpc add {' '.join(map(str, endpoints))}, and this line in the file of relay_tls: {lines}"
    if engine == BUILTIN:
        await session.know_dllama().check(endpoints)
        return "distributed on spreads .m models over them"
    await session.know_backends().check(endpoints)
    return None if session.settings.now.distributed_inference_enabled else "distributed on spreads the next model over them"
