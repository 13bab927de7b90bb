"""engine: the programs that run models, and how to get them."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import Choice
from synaptic.commands.registry import registry
from synaptic.errors import EngineError
from synaptic.results import Cell, Note, Rows

if TYPE_CHECKING:
    from synaptic.process.install import Program
    from synaptic.session import Session

NAMES = ("llama-server", "ggml-rpc-server", "llama-bench", "llama-quantize", "dllama", "dllama-api")
SAYS_ITS_VERSION = {"llama-server"}  # the others have no such flag, or would do something else


@dataclasses.dataclass(frozen=True)
class Listed:
    name: str
    path: Path | None = None
    source: str | None = None
    version: str | None = None
    hint: str | None = None  # what to do about one that is missing


@registry.command("engine list", group="engines")
async def list_(session: Session) -> Rows[Listed]:
    """Show the engine programs on this machine: where they are, and why that one.

    A variable (LLAMA_SERVER, GGML_RPC_SERVER, LLAMA_BENCH, LLAMA_QUANTIZE, DLLAMA, DLLAMA_API) wins over the PATH,
    and the PATH over what was installed with `engine install`.

    See also: engine install, engine path, doctor
    """
    return Rows(
        key="engines",
        items=await asyncio.gather(*(_look(session, name) for name in NAMES)),
        columns={
            "program": lambda engine: engine.name,
            "from": lambda engine: engine.source or Cell("missing", "attention"),
            "version": lambda engine: engine.version or "",
            "path": lambda engine: str(engine.path) if engine.path else Cell(engine.hint or "", "dim"),
        },
    )


@registry.command("engine install", group="engines")
async def install(session: Session, name: Annotated[str, Choice("llama.cpp", "builtin")] = "llama.cpp") -> Note:
    """Build llama.cpp with RPC for this machine: llama-server, ggml-rpc-server, llama-bench, llama-quantize.

    Takes minutes and needs a C++ compiler; the pinned source comes from the Python package index. Interrupt it and
    repeat the command: it goes on where it was. Nothing outside your own folders is changed. `builtin` is the engine for
    distributed-llama models that this program has itself: numpy and numba are fetched for it, and no compiler is needed.

        engine install llama.cpp
        engine install builtin

    See also: engine list, worker start, demo
    """
    if name == "builtin":
        from synaptic.process.builtin_install import install_builtin

        await install_builtin(session.bus, session.logs / "engine-builtin.log", session.environment.variables)
        return Note("the built-in engine is ready", {"engine": name}, hint="try: demo, or: dllama root MODEL.m")
    folder = session.engines.folder
    programs = await session.engines.install(session.bus)
    return Note(
        f"{name} is installed in {folder}", {"engine": name, "folder": folder, "programs": programs}, hint="try: demo, or: worker start"
    )


@registry.command("engine path", group="engines")
async def path(session: Session, name: Annotated[str | None, Choice(*NAMES)] = None) -> Note:
    """Print the path of an engine program; without a name, the folder that `engine install` installs into.

    engine path llama-server
    """
    if name is None:
        folder = session.engines.folder
        if folder is None:
            raise EngineError("there is no home folder to install into", hint="export HOME, or SYNAPTICLLAMAS_HOME")
        return Note(str(folder / "bin"), {"path": folder / "bin"})
    program = session.engines.require(name)
    return Note(str(program.path), {"name": name, "path": program.path, "source": program.source})


async def _look(session: Session, name: str) -> Listed:
    try:
        program = session.engines.find(name)
    except EngineError as error:
        return Listed(name, hint=f"{error}; {error.hint}")
    if program is None:
        return Listed(name, hint=session.engines.remedy(name))
    return Listed(name, program.path, program.source, await _version(program) if name in SAYS_ITS_VERSION else None)


async def _version(program: Program) -> str | None:
    """What `--version` prints after "version:"; None when it does not say so within five seconds."""
    try:
        process = await asyncio.create_subprocess_exec(
            program.path, "--version", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError:  # built for another machine
        return None
    try:
        async with asyncio.timeout(5):
            output, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
    match = re.search(rb"version: ([^\n]{1,100})", output)
    return match[1].decode(errors="replace") if match else None
