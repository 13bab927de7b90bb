"""
Build an engine from its pinned source, into one folder of its own.

    lock → fetch → unpack → cmake → ninja → put in place → sweep up

Everything happens below a work folder that is named after the result. A step whose result is there is not done again, so
a build that was stopped goes on where it was. The result appears in one rename; nothing half-built is ever found.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import os
import re
import shutil
import tarfile
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from synaptic.errors import EngineError
from synaptic.events import Bus, Work
from synaptic.process.build_record import STAMP, record_of, write_record
from synaptic.process.recipe import Recipe
from synaptic.process.source import fetch_source
from synaptic.process.step import Steps, counting
from synaptic.process.toolchain import Toolchain, find_toolchain, require_compiler
from synaptic.results import gib

WAIT_FOR_OTHERS = 4 * 3600.0  # seconds; the kernel frees the lock of one that died, so this is for one that hangs
MEMORY_PER_JOB = 1.5 * 1024**3  # bytes; what compiling the largest of llama.cpp's files takes


def is_built(recipe: Recipe, folder: Path) -> bool:
    return (folder / STAMP).is_file() and all(os.access(folder / "bin" / name, os.X_OK) for name in recipe.programs)


async def build(recipe: Recipe, folder: Path, *, cache: Path, log: Path, variables: Mapping[str, str], bus: Bus) -> None:
    """Make `folder` hold the recipe's programs in `bin/`. Returns at once when it does. Raises EngineError.

    Below `cache` lies what a stopped build goes on from; after success nothing of it is kept.
    """
    if is_built(recipe, folder):
        return
    require_compiler(variables)
    workplace = cache / folder.name
    try:
        with bus.work(f"installing {recipe.name}") as work:
            async with _locked(cache / "lock", work, recipe) as lock:
                if not is_built(recipe, folder):  # whoever held the lock before may have built it
                    workplace.mkdir(parents=True, exist_ok=True)
                    log.parent.mkdir(parents=True, exist_ok=True)
                    log.unlink(missing_ok=True)
                    await _Build(recipe, workplace, Steps(log, variables, holds=lock), variables, work).into(folder)
                await asyncio.to_thread(shutil.rmtree, workplace, ignore_errors=True)
    except (OSError, tarfile.TarError) as error:
        raise EngineError(f"{recipe.name} could not be installed: {error}", hint="try: doctor") from error


@contextlib.asynccontextmanager
async def _locked(path: Path, work: Work, recipe: Recipe) -> AsyncIterator[int]:
    """Every step inherits the lock: if we are killed, it is free when the last compiler is gone, and not earlier."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if not _try_lock(file.fileno()):
            work.update(f"waiting for another installation of {recipe.name} on this machine")
            try:
                async with asyncio.timeout(WAIT_FOR_OTHERS):
                    while not _try_lock(file.fileno()):
                        await asyncio.sleep(0.2)
            except TimeoutError as error:
                raise EngineError(f"another installation of {recipe.name} did not end for hours", hint=f"see who holds {path}") from error
        yield file.fileno()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclasses.dataclass(frozen=True)
class _Build:
    recipe: Recipe
    workplace: Path
    steps: Steps
    variables: Mapping[str, str]
    work: Work

    async def into(self, folder: Path) -> None:
        self._require_room()
        self.work.update("looking for cmake and ninja")
        tools = await find_toolchain(self.variables, self.workplace / "tools", self.steps)
        source, tree = self.workplace / "source", self.workplace / "build"
        if not source.is_dir():
            await self._unpack(await fetch_source(self.recipe, self.workplace, self.steps, self.work), source)
        await self._configure(tools, source, tree)
        await self._compile(tools, tree)
        await _in_thread(lambda _: self._put_in_place(tree, folder))

    def _require_room(self) -> None:
        free = shutil.disk_usage(self.workplace).free
        if free < self.recipe.room:
            message = f"building {self.recipe.name} takes {gib(self.recipe.room)} of disk, and {gib(free)} are free at {self.workplace}"
            raise EngineError(message, hint="free some space and repeat the command, or set SYNAPTICLLAMAS_HOME to a larger disk")

    async def _unpack(self, archive: Path, source: Path) -> None:
        self.work.update(f"unpacking the source of {self.recipe.name}")
        partial = self.workplace / "source.partial"
        await _in_thread(lambda stop: _extract(archive, self.recipe.source, partial, stop))
        (partial / self.recipe.source).rename(source)

    async def _configure(self, tools: Toolchain, source: Path, tree: Path) -> None:
        what = f"configuring {self.recipe.name}"
        self.work.update(what)
        options = [f"-D{option}" for option in ("CMAKE_BUILD_TYPE=Release", f"CMAKE_MAKE_PROGRAM={tools.ninja}", *self.recipe.options)]
        try:
            await self.steps.run(what, tools.cmake, "-G", "Ninja", "-S", source, "-B", tree, *options)
        except EngineError:
            await asyncio.to_thread(shutil.rmtree, tree, ignore_errors=True)  # cmake would remember what it did not find
            raise

    async def _compile(self, tools: Toolchain, tree: Path) -> None:
        what = f"building {self.recipe.name}"
        self.work.update(what)
        command = ("-C", str(tree), "-j", str(_jobs()), *self.recipe.programs)
        hear = counting(r"\[(\d+)/(\d+)\]", self.work, "steps")
        await self.steps.run(what, tools.ninja, *command, hear=hear, variables={"NINJA_STATUS": "[%f/%t] "})

    def _put_in_place(self, tree: Path, folder: Path) -> None:
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "bin").mkdir(parents=True)
        for name in self.recipe.programs:
            shutil.copy2(next(path for path in tree.rglob(name) if path.is_file()), partial / "bin" / name)
        recipe = self.recipe
        write_record(
            partial,
            record_of(
                partial / "bin",
                recipe.name,
                flags=recipe.options,
                version=f"{recipe.package} {recipe.version}",
                commit=recipe.commit,
                compiler=_compiler(tree),
                source_sha256=recipe.sha256,
            ),
        )
        shutil.rmtree(folder, ignore_errors=True)  # only an incomplete one can be there
        partial.rename(folder)


async def _in_thread(function: Callable[[threading.Event], None]) -> None:
    """When we are cancelled, `function` is told to stop and waited for: nothing may write after the lock is free."""
    stop = threading.Event()
    thread = asyncio.ensure_future(asyncio.to_thread(function, stop))
    try:
        await asyncio.shield(thread)
    finally:
        stop.set()
        await thread


def _extract(archive: Path, wanted: str, into: Path, stop: threading.Event) -> None:
    shutil.rmtree(into, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)  # Python 3.11.0 to 3.11.3 have none
        for member in tar:
            if stop.is_set():
                return
            if member.name.startswith(wanted + "/"):
                tar.extract(member, into)


def _compiler(tree: Path) -> str | None:
    """As cmake found it."""
    for path in tree.glob("CMakeFiles/*/CMakeCXXCompiler.cmake"):
        said = dict(re.findall(r'^set\((CMAKE_CXX_COMPILER_ID|CMAKE_CXX_COMPILER_VERSION) "([^"]+)"\)', path.read_text(), re.MULTILINE))
        return " ".join(said.values()) or None
    return None


def _jobs() -> int:
    """One compiler per core that is ours, fewer where memory is short."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, int(psutil.virtual_memory().available / MEMORY_PER_JOB)))
