"""What a build needs besides the source: a compiler of the system's, cmake and ninja of the system's or from the package index."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from synaptic.errors import EngineError
from synaptic.process.step import Steps

CMAKE_AT_LEAST = (3, 18)
PINNED = ("cmake==4.4.4", "ninja==1.13.2")


@dataclasses.dataclass(frozen=True)
class Toolchain:
    cmake: Path
    ninja: Path


def require_compiler(variables: Mapping[str, str]) -> None:
    """Raises EngineError when there is no C or no C++ compiler. CC and CXX count, as they do for cmake."""
    for language, variable, usual in (("C", "CC", ("cc", "gcc", "clang")), ("C++", "CXX", ("c++", "g++", "clang++"))):
        candidates = variables.get(variable, "").split()[:1] or usual
        if not any(_which(name, variables) for name in candidates):
            how = "xcode-select --install" if sys.platform == "darwin" else "apt install g++ (or your system's own package of it)"
            raise EngineError(f"there is no {language} compiler on this machine", hint=f"try: {how}")


async def find_toolchain(variables: Mapping[str, str], folder: Path, steps: Steps) -> Toolchain:
    """The system's cmake and ninja; where one is missing or old, both are put into `folder`."""
    cmake, ninja = _which("cmake", variables), _which("ninja", variables)
    if cmake and ninja and await asyncio.to_thread(_cmake_version, cmake, variables) >= CMAKE_AT_LEAST:
        return Toolchain(cmake, ninja)
    fetched = Toolchain(folder / "cmake/data/bin/cmake", folder / "bin/ninja")
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")
        await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)
        pip = (sys.executable, "-m", "pip", "install", "--only-binary", ":all:", "--no-cache-dir", "--no-input", "--progress-bar", "off")
        await steps.run("fetching cmake and ninja", *pip, "--target", partial, *PINNED)
        partial.rename(folder)
    return fetched


def _which(name: str, variables: Mapping[str, str]) -> Path | None:
    found = shutil.which(name, path=variables.get("PATH", ""))
    return Path(found).absolute() if found else None


def _cmake_version(cmake: Path, variables: Mapping[str, str]) -> tuple[int, ...]:
    """(0,) for a cmake that does not run, such as the wrapper of an environment that is gone."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        said = subprocess.run([cmake, "--version"], capture_output=True, text=True, timeout=10, check=False, env=dict(variables)).stdout
        if match := re.search(r"version (\d+)\.(\d+)", said):
            return int(match[1]), int(match[2])
    return (0,)
