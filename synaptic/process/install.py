"""Where the engines' programs are on this machine: named by a variable, on the PATH, or installed by us."""

from __future__ import annotations

import dataclasses
import os
import shutil
from functools import cached_property
from pathlib import Path

from synaptic.environment import Environment
from synaptic.errors import EngineError
from synaptic.events import Bus
from synaptic.files import path_of
from synaptic.process.recipe import LLAMA_CPP, Recipe

VARIABLES = {
    "llama-server": "LLAMA_SERVER",
    "ggml-rpc-server": "GGML_RPC_SERVER",
    "llama-bench": "LLAMA_BENCH",
    "llama-quantize": "LLAMA_QUANTIZE",
    "dllama": "DLLAMA",
    "dllama-api": "DLLAMA_API",
}
ALSO_CALLED = {"ggml-rpc-server": ("rpc-server",)}  # its name before llama.cpp renamed it


@dataclasses.dataclass(frozen=True)
class Program:
    name: str
    path: Path
    source: str  # "environment", "path" or "installed"


class Engines:
    def __init__(self, environment: Environment, recipe: Recipe = LLAMA_CPP) -> None:
        self._environment = environment
        self._recipe = recipe

    def find(self, name: str) -> Program | None:
        """The first of: its variable, the PATH, what we installed. Raises EngineError for a variable that names no program."""
        return self._named_by_variable(name) or self._on_path(name) or self._installed(name)

    def require(self, name: str) -> Program:
        if found := self.find(name):
            return found
        instead = ", or without it: worker start --engine builtin" if name == "ggml-rpc-server" else ""
        raise EngineError(f"{name} was not found on this machine", hint=f"{self.remedy(name)}{instead}")

    def remedy(self, name: str) -> str:
        """What to do about a program that is missing."""
        if name in self._recipe.programs:
            return f"try: engine install {self._recipe.name}"
        return f"build it from source, then name it: export {VARIABLES[name]}=/path/to/{name}"

    async def install(self, bus: Bus) -> list[Program]:
        """Build what can be built here, unless that was done before; minutes. Raises EngineError."""
        from synaptic.process.build import build

        folder, cache = self.folder, self._environment.cache_dir
        if folder is None or cache is None:
            raise EngineError("there is no home folder to install into", hint="export HOME, or SYNAPTICLLAMAS_HOME")
        log = (self._environment.state_dir or cache) / "logs" / "engine-install.log"
        variables = self._environment.variables
        await build(self._recipe, folder, cache=cache / "engines" / self._recipe.name, log=log, variables=variables, bus=bus)
        return [Program(name, folder / "bin" / name, "installed") for name in self._recipe.programs]

    @cached_property
    def folder(self) -> Path | None:
        """Where this version, built for this processor, is or would be installed; None without a home."""
        from synaptic.process.cpu import processor_stamp

        data = self._environment.data_dir
        return data / "engines" / self._recipe.name / f"{self._recipe.version}-{processor_stamp()}" if data else None

    def _named_by_variable(self, name: str) -> Program | None:
        variable = VARIABLES.get(name, "")
        value = self._environment.variables.get(variable)
        if not value:
            return None
        found = shutil.which(path_of(value), path=self._search_path)
        if found is None:
            raise EngineError(f'{variable} names "{value}", which is no program', hint=f"unset {variable}, or give it the path of {name}")
        return Program(name, Path(found).absolute(), "environment")

    def _on_path(self, name: str) -> Program | None:
        for called in (name, *ALSO_CALLED.get(name, ())):
            if found := shutil.which(called, path=self._search_path):
                return Program(name, Path(found).absolute(), "path")
        return None

    def _installed(self, name: str) -> Program | None:
        path = self.folder / "bin" / name if self.folder else None
        return Program(name, path, "installed") if path and path.is_file() and os.access(path, os.X_OK) else None

    @property
    def _search_path(self) -> str:
        return self._environment.variables.get("PATH", "")
