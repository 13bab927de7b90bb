"""Which program is meant, when there are several."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from synaptic.environment import Environment
from synaptic.errors import EngineError
from synaptic.events import Bus
from synaptic.process.builtin_install import install_builtin
from synaptic.process.cpu import stamp_of
from synaptic.process.install import VARIABLES, Engines


def program(path: Path, says: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def engines(home: Path, **variables: str) -> Engines:
    streams = io.StringIO(), io.StringIO(), io.StringIO()
    return Engines(Environment({"SYNAPTICLLAMAS_HOME": str(home), "PATH": str(home / "bin"), **variables}, *streams))


def installed(home: Path, name: str) -> Path:
    folder = engines(home).folder
    assert folder
    return program(folder / "bin" / name)


def test_nothing_is_found_on_a_fresh_machine(tmp_path):
    for name in VARIABLES:
        assert engines(tmp_path).find(name) is None


def test_an_installed_program_is_found(tmp_path):
    path = installed(tmp_path, "llama-server")
    found = engines(tmp_path).find("llama-server")
    assert found
    assert (found.path, found.source) == (path, "installed")


def test_the_path_wins_over_what_is_installed(tmp_path):
    installed(tmp_path, "llama-server")
    path = program(tmp_path / "bin" / "llama-server")
    found = engines(tmp_path).find("llama-server")
    assert found
    assert (found.path, found.source) == (path, "path")


def test_the_variable_wins_over_the_path(tmp_path):
    program(tmp_path / "bin" / "llama-server")
    path = program(tmp_path / "elsewhere" / "my-server")
    found = engines(tmp_path, LLAMA_SERVER=str(path)).find("llama-server")
    assert found
    assert (found.path, found.source) == (path, "environment")


def test_a_variable_may_name_a_symbolic_link_or_a_program_on_the_path(tmp_path):
    path = program(tmp_path / "bin" / "my-server")
    link = tmp_path / "link"
    link.symlink_to(path)
    for value in (str(link), "my-server"):
        found = engines(tmp_path, LLAMA_SERVER=value).find("llama-server")
        assert found
        assert found.path.samefile(path)


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_names_no_program_is_said_and_nothing_else_is_taken(tmp_path, name):
    program(tmp_path / "bin" / name)
    no_program = tmp_path / "notes.txt"
    no_program.write_text("not executable")
    for value in (str(no_program), str(tmp_path / "missing"), str(tmp_path)):
        with pytest.raises(EngineError, match=f'{VARIABLES[name]} names "{value}", which is no program') as caught:
            engines(tmp_path, **{VARIABLES[name]: value}).find(name)
        assert VARIABLES[name] in (caught.value.hint or "")


def test_rpc_server_is_the_same_program_under_its_old_name(tmp_path):
    old = program(tmp_path / "bin" / "rpc-server")
    assert engines(tmp_path).require("ggml-rpc-server").path == old
    new = program(tmp_path / "bin" / "ggml-rpc-server")
    assert engines(tmp_path).require("ggml-rpc-server").path == new


def test_a_missing_program_says_how_to_get_it(tmp_path):
    with pytest.raises(EngineError, match="llama-server was not found") as caught:
        engines(tmp_path).require("llama-server")
    assert caught.value.hint == "try: engine install llama.cpp"
    with pytest.raises(EngineError, match="dllama was not found") as caught:
        engines(tmp_path).require("dllama")
    assert "DLLAMA" in (caught.value.hint or "")


def test_without_a_home_nothing_is_installed_and_nothing_breaks(tmp_path):
    homeless = engines(tmp_path, SYNAPTICLLAMAS_HOME="", HOME=str(tmp_path / "gone"))
    assert homeless.folder is None
    assert homeless.find("llama-server") is None


CPUINFO = "processor\t: 0\nmodel name\t: Some CPU\ncpu MHz\t\t: {mhz}\nflags\t\t: {flags}\n"


def test_what_is_installed_belongs_to_a_processor_and_not_to_a_moment():
    stamp = stamp_of("x86_64", CPUINFO.format(mhz=800, flags="fpu avx2 fma pti"))
    assert stamp == stamp_of("x86_64", CPUINFO.format(mhz=4200, flags="fma fpu avx2 user_shstk"))
    assert stamp != stamp_of("x86_64", CPUINFO.format(mhz=800, flags="fpu avx2 fma avx512f"))
    assert stamp != stamp_of("x86_64", CPUINFO.format(mhz=800, flags="fpu avx2 fma pti").replace("Some", "Other"))
    assert stamp != stamp_of("aarch64", CPUINFO.format(mhz=800, flags="fpu avx2 fma pti"))
    assert stamp_of("arm64", "Apple M1\n") != stamp_of("arm64", "Apple M2\n")


@pytest.mark.anyio
async def test_without_a_network_the_packages_of_the_built_in_engine_are_missed_in_one_sentence(tmp_path):
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    never_installs = {"PIP_DRY_RUN": "1", "PIP_FORCE_REINSTALL": "1", "PIP_NO_CACHE_DIR": "1"}
    with pytest.raises(EngineError, match="could not be fetched: the package index does not answer") as caught:
        await install_builtin(Bus(), tmp_path / "pip.log", {**os.environ, **nowhere, **never_installs})
    assert "is this machine online?" in caught.value.hint
    assert str(tmp_path / "pip.log") in caught.value.hint
    assert caught.value.details == (), "what pip says of it again and again is in the log"
