"""
Fetch a pinned source distribution with pip, and nothing else of the package it belongs to.

pip checks the hash before it opens the file, and we check it again before anything is built.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import shutil
import sys
from pathlib import Path

from synaptic.errors import EngineError
from synaptic.events import Work
from synaptic.process.recipe import Recipe
from synaptic.process.step import Steps, counting

# pip asks every source distribution for its metadata, and for that would install and run the package's own build system.
# This stands in for the build system and hands over the metadata that lies in the archive.
STAND_IN = """
import email
from pathlib import Path


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    metadata = Path("PKG-INFO").read_bytes()
    known = email.message_from_bytes(metadata)
    folder = Path(metadata_directory, f"{known['Name'].replace('-', '_')}-{known['Version']}.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_bytes(metadata)
    return folder.name
"""
BUILD_SYSTEM = "scikit_build_core/build.py"  # the module that the archive names as its build system


async def fetch_source(recipe: Recipe, folder: Path, steps: Steps, work: Work) -> Path:
    """The checked archive in `folder`, fetched unless it is there. Raises EngineError."""
    archive = folder / recipe.archive
    if await _is_pinned(recipe, archive):
        return archive
    what = f"fetching the source of {recipe.name}"
    work.update(what)
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{recipe.package}=={recipe.version} --hash=sha256:{recipe.sha256}\n")
    stand_in, temporary = folder / "stand-in", folder / "tmp"
    await asyncio.to_thread(_prepare, stand_in / BUILD_SYSTEM, temporary)
    pip = (sys.executable, "-m", "pip", "download", "--no-input", "--no-cache-dir", "--disable-pip-version-check", *_progress_bar())
    only_the_file = ("--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes")
    await steps.run(
        what,
        *(*pip, *only_the_file, "--dest", str(folder), "--requirement", str(wanted)),
        hear=counting(r"Progress (\d+) of (\d+)", work, "MB", 1_000_000),
        variables={"PYTHONPATH": str(stand_in), "TMPDIR": str(temporary)},
    )
    if not await _is_pinned(recipe, archive):
        raise EngineError(f"the fetched source of {recipe.name} is not the pinned one", hint=f"the whole log: {steps.log}")
    return archive


async def _is_pinned(recipe: Recipe, archive: Path) -> bool:
    return archive.is_file() and await asyncio.to_thread(_sha256, archive) == recipe.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _prepare(build_system: Path, temporary: Path) -> None:
    shutil.rmtree(temporary, ignore_errors=True)  # of a download that was killed
    temporary.mkdir()
    build_system.parent.mkdir(parents=True, exist_ok=True)
    build_system.write_text(STAND_IN)


def _progress_bar() -> tuple[str, str]:
    try:
        major, minor = (int(number) for number in importlib.metadata.version("pip").split(".")[:2])
    except importlib.metadata.PackageNotFoundError as error:
        raise EngineError("this python has no pip", hint=f"try: {sys.executable} -m ensurepip") from error
    return "--progress-bar", "raw" if (major, minor) >= (24, 1) else "off"
