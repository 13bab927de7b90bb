"""
Building an engine: the real steps, on a source distribution that is small.

Its four programs are C; making the first one counts, making the second one can be held up.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from synaptic.environment import Environment
from synaptic.errors import EngineError
from synaptic.events import Bus, Event, WorkFinished, WorkProgressed, WorkStarted
from synaptic.process.install import Engines
from synaptic.process.recipe import Recipe

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not all(map(shutil.which, ("cmake", "ninja", "cc", "c++"))), reason="needs cmake, ninja and a C++ compiler"),
]

PROGRAMS = ("one", "two", "three", "four")
CMAKE_LISTS = """
cmake_minimum_required(VERSION 3.18)
project(tiny C CXX)
add_custom_command(OUTPUT one.c COMMAND sh ${CMAKE_SOURCE_DIR}/count.sh VERBATIM)
add_custom_command(OUTPUT two.c COMMAND sh ${CMAKE_SOURCE_DIR}/hold.sh DEPENDS one.c VERBATIM)
add_executable(one one.c)
add_executable(two two.c)
add_executable(three three.cpp)
add_executable(four four.cpp)
"""
FILES = {
    "PKG-INFO": "Metadata-Version: 2.1\nName: tiny-engine\nVersion: 1.0\n",
    "pyproject.toml": '[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "scikit_build_core.build"\n',
    "vendor/tiny/CMakeLists.txt": CMAKE_LISTS,
    "vendor/tiny/count.sh": 'echo made >> "$COUNT"; echo "int main(void) { return 0; }" > one.c\n',
    "vendor/tiny/hold.sh": 'if [ -e "$HOLD" ]; then echo $$ > "$HELD"; while [ -e "$HOLD" ]; do sleep 0.02; done; fi; cp one.c two.c\n',
    "vendor/tiny/three.cpp": "int main() { return 0; }\n",
    "vendor/tiny/four.cpp": "int main() { return 0; }\n",
}


class World:
    """A machine without a network, whose package index is a folder."""

    def __init__(self, folder: Path) -> None:
        self.home, self.index, self.hold, self.held, self.count = (folder / name for name in ("home", "index", "hold", "held", "count"))
        self.index.mkdir(parents=True)
        self.variables = {
            "PATH": os.environ["PATH"],
            "SYNAPTICLLAMAS_HOME": str(self.home),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "COUNT": str(self.count),
            "HOLD": str(self.hold),
            "HELD": str(self.held),
        }
        self.bus = Bus()

    def publish(self, **changes: str) -> Recipe:
        """A source distribution with these files changed, and its recipe."""
        archive = self.index / "tiny_engine-1.0.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for name, text in {**FILES, **{f"vendor/tiny/{name}": text for name, text in changes.items()}}.items():
                entry = tarfile.TarInfo(f"tiny_engine-1.0/{name}")
                entry.size = len(text.encode())
                tar.addfile(entry, io.BytesIO(text.encode()))
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        return Recipe(
            "tiny", "tiny-engine", "1.0", digest, archive.name, "tiny_engine-1.0/vendor/tiny", PROGRAMS, ("FROM_RECIPE=ON",), room=1
        )

    def engines(self, recipe: Recipe) -> Engines:
        return Engines(Environment(self.variables, io.StringIO(), io.StringIO(), io.StringIO()), recipe)

    def said(self, kind: type[Event] = WorkProgressed) -> list[str]:
        return [
            event.what
            for event in self.bus.history
            if isinstance(event, kind) and isinstance(event, WorkProgressed | WorkStarted | WorkFinished)
        ]

    @property
    def made(self) -> int:
        return len(self.count.read_text().splitlines()) if self.count.exists() else 0

    @property
    def log(self) -> str:
        return (self.home / "state/logs/engine-install.log").read_text()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@contextlib.asynccontextmanager
async def held_up(world: World, recipe: Recipe) -> AsyncIterator[asyncio.Task[object]]:
    """An installation that stands still in the middle of compiling."""
    world.hold.touch()
    task: asyncio.Task[object] = asyncio.create_task(world.engines(recipe).install(world.bus))
    await until(lambda: task.done() or (world.held.exists() and bool(world.held.read_text())))
    assert not task.done(), task.result()
    try:
        yield task
    finally:
        world.hold.unlink(missing_ok=True)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def by_hand(world: World, recipe: Recipe) -> Path:
    """Where a download lies until it has been built."""
    folder = world.engines(recipe).folder
    assert folder
    archive = world.home / "cache/engines/tiny" / folder.name / recipe.archive
    archive.parent.mkdir(parents=True)
    return archive


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not condition():
            await asyncio.sleep(0.02)


async def test_the_pinned_source_becomes_programs_that_run(world):
    engines = world.engines(world.publish())
    programs = await engines.install(world.bus)
    assert [program.name for program in programs] == list(PROGRAMS)
    for program in programs:
        process = await asyncio.create_subprocess_exec(program.path)
        assert await process.wait() == 0
        assert engines.require(program.name) == program
    steps = [event for event in world.bus.history if isinstance(event, WorkProgressed) and event.unit == "steps"]
    assert steps[-1].done == steps[-1].total
    assert world.said(WorkStarted) == world.said(WorkFinished) == ["installing tiny"]


async def test_nothing_but_the_programs_and_a_stamp_is_kept(world):
    await world.engines(world.publish()).install(world.bus)
    folder = world.engines(world.publish()).folder
    assert folder
    assert sorted(path.name for path in folder.rglob("*")) == sorted([*PROGRAMS, "bin", "stamp.json"])
    assert [path.name for path in (world.home / "cache/engines/tiny").iterdir()] == ["lock"]


async def test_a_second_installation_returns_at_once(world):
    recipe = world.publish()
    first = await world.engines(recipe).install(world.bus)
    (world.index / recipe.archive).unlink()
    heard = len(world.bus.history)
    assert await world.engines(recipe).install(world.bus) == first
    assert len(world.bus.history) == heard
    assert world.made == 1


async def test_a_broken_installation_is_built_again(world):
    recipe = world.publish()
    programs = await world.engines(recipe).install(world.bus)
    programs[2].path.unlink()
    await world.engines(recipe).install(world.bus)
    assert programs[2].path.exists()


async def test_an_interrupted_build_leaves_no_process_and_goes_on_where_it_was(world):
    recipe = world.publish()
    async with held_up(world, recipe) as task:
        shell = int(world.held.read_text())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not psutil.pid_exists(shell))
        assert world.engines(recipe).find("one") is None
    (world.index / recipe.archive).unlink()  # it is not fetched again
    await world.engines(recipe).install(world.bus)
    assert world.made == 1
    assert world.engines(recipe).find("two")


INSTALL = """
import asyncio, json, sys
from synaptic.environment import Environment
from synaptic.events import Bus
from synaptic.process.install import Engines
from synaptic.process.recipe import Recipe

asyncio.run(Engines(Environment.of_this_process(), Recipe(**json.loads(sys.argv[1]))).install(Bus()))
"""


async def test_after_a_killed_installer_the_next_waits_for_its_compilers_and_goes_on(world):
    recipe = world.publish()
    world.hold.touch()
    words = (sys.executable, "-c", INSTALL, json.dumps(dataclasses.asdict(recipe)))
    killed = await asyncio.create_subprocess_exec(*words, env={**os.environ, **world.variables})
    await until(lambda: world.held.exists() and bool(world.held.read_text()))
    killed.kill()
    await killed.wait()
    next_one = asyncio.create_task(world.engines(recipe).install(world.bus))
    await until(lambda: "waiting for another installation of tiny on this machine" in world.said())
    world.hold.unlink()
    async with asyncio.timeout(40):
        assert await next_one
    assert world.made == 1


async def test_a_second_installer_waits_for_the_first_and_says_so(world):
    recipe = world.publish()
    async with held_up(world, recipe) as first:
        second = asyncio.create_task(world.engines(recipe).install(world.bus))
        await until(lambda: "waiting for another installation of tiny on this machine" in world.said())
        assert not second.done()
        world.hold.unlink()
        async with asyncio.timeout(40):
            assert await first == await second
    assert world.made == 1


async def test_a_failing_compiler_has_the_last_words(world):
    with pytest.raises(EngineError, match="building tiny failed") as caught:
        await world.engines(world.publish(**{"four.cpp": "int main() { return nonsense; }\n"})).install(world.bus)
    assert any("nonsense" in line for line in caught.value.details)
    assert len(caught.value.details) <= 20
    assert "engine-install.log" in (caught.value.hint or "")
    assert "nonsense" in world.log


LOOKS_ONCE = """
file(GLOB found "$ENV{COUNT}")
set(FOUND "${found}" CACHE STRING "what was there when cmake first looked")
if(NOT FOUND)
  message(FATAL_ERROR "no such thing")
endif()
"""


async def test_a_failed_configuration_is_started_afresh(world):
    recipe = world.publish(**{"CMakeLists.txt": CMAKE_LISTS + LOOKS_ONCE})
    with pytest.raises(EngineError, match="configuring tiny failed"):
        await world.engines(recipe).install(world.bus)
    world.count.touch()
    assert await world.engines(recipe).install(world.bus)


async def test_a_source_with_another_hash_is_refused(world):
    recipe = dataclasses.replace(world.publish(), sha256="0" * 64)
    with pytest.raises(EngineError, match="fetching the source of tiny failed"):
        await world.engines(recipe).install(world.bus)
    assert "HASH" in world.log
    assert world.made == 0


async def test_a_damaged_download_is_fetched_again(world):
    recipe = world.publish()
    by_hand(world, recipe).write_bytes((world.index / recipe.archive).read_bytes()[:-10])
    assert await world.engines(recipe).install(world.bus)


async def test_without_a_compiler_one_sentence_says_so_before_anything_is_fetched(world, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("cmake", "ninja", "cc"):
        (tools / name).symlink_to(str(shutil.which(name)))
    world.variables["PATH"] = str(tools)
    with pytest.raises(EngineError, match=r"there is no C\+\+ compiler on this machine") as caught:
        await world.engines(world.publish()).install(world.bus)
    assert "g++" in (caught.value.hint or "") or "xcode" in (caught.value.hint or "")
    assert not (world.home / "cache").exists()


async def test_a_full_disk_is_said_before_anything_is_fetched(world):
    recipe = dataclasses.replace(world.publish(), room=2**62)
    with pytest.raises(EngineError, match=r"building tiny takes .* TiB of disk, and .* are free"):
        await world.engines(recipe).install(world.bus)
    assert not (world.home / "state/logs/engine-install.log").exists()


async def test_a_folder_that_cannot_be_made_is_named(world):
    world.home.mkdir()
    (world.home / "cache").write_text("a file where a folder should be")
    with pytest.raises(EngineError, match=r"tiny could not be installed: .*cache"):
        await world.engines(world.publish()).install(world.bus)


async def test_a_source_that_names_files_outside_its_folder_is_refused(world):
    recipe = world.publish(**{"../../../../outside": "mischief"})
    by_hand(world, recipe).write_bytes((world.index / recipe.archive).read_bytes())
    with pytest.raises(EngineError, match="tiny could not be installed: .*outside"):
        await world.engines(recipe).install(world.bus)
    assert not list(world.home.rglob("outside"))
