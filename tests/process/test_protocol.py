from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from synaptic.cluster.protocol import Version
from synaptic.environment import Environment
from synaptic.process.install import Engines
from synaptic.process.protocol import PINNED, LocalProtocol

pytestmark = pytest.mark.anyio


def world(**variables: str) -> Environment:
    return Environment(variables, sys.stdin, sys.stdout, sys.stderr)


@pytest.mark.live
async def test_the_real_worker_says_which_protocol_it_speaks_and_is_asked_once(ggml_rpc_server: Path, tmp_path: Path) -> None:
    engines = Engines(world(GGML_RPC_SERVER=str(ggml_rpc_server), HOME=str(tmp_path), PATH=""))
    version = await LocalProtocol(engines, tmp_path, os.environ)()
    assert version.major >= 3
    (tmp_path / "rpc-protocol.json").write_text((tmp_path / "rpc-protocol.json").read_text().replace(str(version), "6.5.4"))
    assert await LocalProtocol(engines, tmp_path, os.environ)() == Version(6, 5, 4)


async def test_without_a_program_it_is_the_pinned_release(tmp_path: Path) -> None:
    assert await LocalProtocol(Engines(world(HOME=str(tmp_path), PATH="")), tmp_path, {})() == PINNED


async def test_a_program_that_is_no_worker_does_not_stop_us(tmp_path: Path) -> None:
    program = tmp_path / "ggml-rpc-server"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    assert await LocalProtocol(Engines(world(HOME=str(tmp_path), PATH=str(tmp_path))), None, {"PATH": "/bin:/usr/bin"})() == PINNED
