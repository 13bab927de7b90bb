"""doctor: what is missing here, and how to mend it."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import platform
import shutil
import socket
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from synaptic.commands.faces import address_of
from synaptic.commands.registry import registry
from synaptic.endpoint import RPC_PORT, Endpoint
from synaptic.errors import EngineError
from synaptic.results import Cell, Rows, Style, gib, plural

if TYPE_CHECKING:
    from synaptic.cluster.backend import Backend
    from synaptic.session import Session

Mark = Literal["✓", "!", "✗"]
_STYLES: dict[Mark, Style] = {"✓": "good", "!": "attention", "✗": "bad"}
ROOM_FOR_A_BUILD = 2 * 1024**3  # bytes
LEAST_ROOM = 16 * 1024**2  # bytes, for logs and settings
WEB_PORT = 8080


@dataclasses.dataclass(frozen=True)
class Check:
    mark: Mark
    what: str
    detail: str
    fix: str = ""


@registry.command("doctor", group="look")
async def doctor(session: Session) -> Rows[Check]:
    """Check this machine and the known workers, and say how to mend what is wrong. Exit code 1 on a ✗.

        doctor
        doctor --json

    See also: status, model doctor, logs
    """
    checks = [*_python(), *_terminal(session), *_settings(session), *await _engines(session), *_disk(session)]
    now = session.settings.now
    checks += [*_ports(session), *await _nodes(session), *await _workers(session), *exposed((*now.rpc_backends, *now.dllama_backends))]
    return as_rows(checks)


def as_rows(checks: list[Check]) -> Rows[Check]:
    """With exit code 1 on a ✗."""
    return Rows(
        key="checks",
        items=checks,
        columns={
            "": lambda check: Cell(check.mark, _STYLES[check.mark]),
            "what": lambda check: check.what,
            "detail": lambda check: check.detail,
            "fix": lambda check: Cell(check.fix, "dim"),
        },
        exit_code=1 if any(check.mark == "✗" for check in checks) else 0,
    )


def _python() -> Iterator[Check]:
    yield Check("✓", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _terminal(session: Session) -> Iterator[Check]:
    encoding = getattr(session.environment.stdout, "encoding", None) or "unknown"
    if "utf" in encoding.lower():
        yield Check("✓", "terminal", f"{session.environment.variables.get('TERM', 'no TERM')}, {encoding}")
    else:
        yield Check("!", "terminal", f"writes {encoding}: marks are shown in ASCII", "export LANG=C.UTF-8")


def _settings(session: Session) -> Iterator[Check]:
    path = session.settings.path
    if path is None:
        yield Check("!", "settings", "no home folder: nothing is saved", "export HOME, or SYNAPTICLLAMAS_HOME")
        return
    if not session.settings.is_saved or (path.exists() and not os.access(path, os.W_OK)):
        elsewhere = "or name another folder: export SYNAPTICLLAMAS_HOME=/path"
        yield Check("✗", "settings", f"{path} cannot be written: changes last until you leave", f"chmod u+w {path}, {elsewhere}")
        return
    for warning in session.settings.warnings:
        yield Check("!", "settings", warning, f"edit {path}")
    if not session.settings.warnings:
        yield Check("✓", "settings", f"{path}" + ("" if path.exists() else " (not written yet)"))


async def _engines(session: Session) -> list[Check]:
    from synaptic.process.builtin_install import is_installed

    checks: list[Check] = []
    for name in ("llama-server", "ggml-rpc-server"):
        try:
            program = session.engines.find(name)
        except EngineError as error:
            checks.append(Check("✗", name, str(error), error.hint or ""))
            continue
        if program is None:
            stands_in = is_installed()  # who has neither has nothing to answer with
            detail = "not found; the built-in engine runs the demo and .m models" if stands_in else "not found"
            checks.append(Check("!" if stands_in else "✗", name, detail, "engine install llama.cpp"))
        elif name == "llama-server" and not await _speaks_rpc(str(program.path)):
            checks.append(Check("✗", name, f"{program.path} was built without RPC", "engine install llama.cpp"))
        else:
            checks.append(Check("✓", name, f"{program.path} ({program.source})"))
    found = session.engines.find("dllama-api") or session.engines.find("dllama")
    checks.append(Check("✓", "dllama", str(found.path)) if found else Check("!", "dllama", "not found; only dllama clusters need it"))
    return checks


async def _speaks_rpc(program: str) -> bool:
    """A llama-server that was built without RPC does not know the flag."""
    process = await asyncio.create_subprocess_exec(
        program, "--help", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(10):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return False
    return b"--rpc" in output


def _disk(session: Session) -> Iterator[Check]:
    folder = session.environment.data_dir
    while folder and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if folder is None:
        return
    free = shutil.disk_usage(folder).free
    built = _is_built(session)
    if free < LEAST_ROOM:
        yield Check("✗", "disk", f"{gib(free)} free at {folder}: nothing can be started or saved there", "free some")
    elif free < ROOM_FOR_A_BUILD and not built:
        yield Check("!", "disk", f"{gib(free)} free at {folder}: too little to build llama.cpp", "free 2 GiB")
    else:
        yield Check("✓", "disk", f"{gib(free)} free at {folder}")


def _is_built(session: Session) -> bool:
    try:
        return session.engines.find("llama-server") is not None
    except EngineError:
        return False


def _ports(session: Session) -> Iterator[Check]:
    ours = {worker.endpoint.port for worker in session.workers.all()}
    for port, use in ((RPC_PORT, "workers take the next free one"), (WEB_PORT, "the dashboard takes the next free one")):
        if port in ours:
            yield Check("✓", f"port {port}", "held by a worker of ours")
            continue
        if (address_of(session, "dashboard") or "").endswith(f":{port}"):
            yield Check("✓", f"port {port}", "held by the dashboard of this shell")
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                yield Check("!", f"port {port}", f"taken on 127.0.0.1; {use}")
            else:
                yield Check("✓", f"port {port}", "free")


async def _nodes(session: Session) -> list[Check]:
    checks: list[Check] = []
    for state in await session.nodes.refresh():
        what = str(state.node.endpoint)
        if state.is_ready:
            checks.append(Check("✓", what, f"{state.software} {state.version} · {plural(len(state.offers), 'model')}"))
        elif state.node.source == "default":
            checks.append(Check("!", "ollama", f"nothing answers on {what}; only Ollama's own models need it"))
        else:
            # what the environment names, no command forgets
            remedy = " change OLLAMA_HOST" if state.node.source == "environment" else f": nodes remove {state.node.url}"
            checks.append(Check("✗", what, state.detail or state.health, f"start it there, or{remedy}"))
    return checks


async def _workers(session: Session) -> list[Check]:
    checked, dllama = await asyncio.gather(session.know_backends().check(), session.know_dllama().check())
    if not (checked or dllama):
        return [Check("!", "workers", "none known", "rpc discover, or: worker start --count 2")]
    return [*map(_rpc_worker, checked), *map(_dllama_worker, dllama)]


def _rpc_worker(worker: Backend) -> Check:
    if not worker.is_ready:
        return _missing(worker, "rpc")
    told = f"rpc-server {worker.version or ''} · {gib(worker.free_bytes)} · {worker.latency_ms or 0:.0f} ms"
    return Check("✓", str(worker.endpoint), told if worker.devices else worker.detail or "in use")  # then it is not asked


def _dllama_worker(worker: Backend) -> Check:
    if not worker.is_there:
        return _missing(worker, "dllama")
    return Check("✓", str(worker.endpoint), f"dllama worker · {worker.detail or worker.state.value}")


def _missing(worker: Backend, noun: str) -> Check:
    forget = {"local": f": worker stop {worker.endpoint}", "environment": " change LLAMA_RPC_BACKENDS"}
    remedy = f"start it there, or{forget.get(worker.source, f': {noun} remove {worker.endpoint}')}"
    return Check("✗", str(worker.endpoint), worker.detail or worker.state.value, remedy)


def exposed(workers: Iterable[Endpoint]) -> Iterator[Check]:
    """Those out in the world: their protocols ask for no key, so anybody may use, read or end them."""
    from synaptic.discovery.hint import is_public

    for worker in filter(is_public, workers):
        remedy = "let it listen on a private address, or behind: worker start --relay-tls"
        yield Check("✗", str(worker), "a public address, and a worker's protocol has no key", remedy)
