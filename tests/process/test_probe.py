"""Measuring a worker: a real llama-bench at a real rpc-server, and what it must leave alone."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from pathlib import Path

import pytest
from conftest import _program

from synaptic.cluster.backend import State
from synaptic.cluster.pool import Pool
from synaptic.errors import BackendError, EngineError
from synaptic.events import Bus
from synaptic.models.split import read_whole
from synaptic.planning.shape import Shape
from synaptic.process.probe import Probe
from synaptic.process.probe_model import FLOP, READ, probe_model

pytestmark = pytest.mark.anyio


@pytest.fixture
def llama_bench() -> Path:
    return _program("LLAMA_BENCH")


@pytest.fixture
def pool() -> Pool:
    return Pool(Bus())


def program(folder: Path, text: str) -> Path:
    """Something that is run in place of llama-bench."""
    path = folder / "llama-bench"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_model_to_measure_with_is_what_it_says(tmp_path: Path) -> None:
    path = probe_model(tmp_path)
    header = read_whole(path)
    shape = Shape.of(header)
    assert header.quantization == "Q8_0"
    assert shape.read_per_token(0, shape.layers) == pytest.approx(READ, rel=0.0001)
    assert 2 * (header.parameters - shape.vocabulary * shape.embedding_length) == pytest.approx(FLOP, rel=0.001)
    assert path.stat().st_size == header.file_bytes
    before = path.stat().st_mtime_ns
    assert probe_model(tmp_path) == path
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"half")
    assert probe_model(tmp_path).stat().st_size == header.file_bytes
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.live
async def test_a_real_worker_is_measured_and_free_again(llama_bench, rpc_worker, pool: Pool, tmp_path: Path) -> None:
    endpoint = rpc_worker().endpoint
    pool.add([endpoint], "test")
    speed = await Probe(llama_bench, pool, tmp_path, os.environ).measure(endpoint)
    assert 1e8 < speed.bandwidth < 1e12
    assert 1e8 < speed.compute < 1e14
    assert 0 < speed.round_trip < 0.5
    assert speed.link > 1e6
    assert speed.measured_at
    assert pool.holder(endpoint) is None
    assert (await pool.check([endpoint]))[0].state is State.IDLE


async def test_one_that_is_held_is_not_touched(rpc_worker, pool: Pool, tmp_path: Path) -> None:
    endpoint = rpc_worker().endpoint
    pool.add([endpoint], "test")
    pool.hold([endpoint], "coordinator demo")
    forbidden = program(tmp_path, f"open({str(tmp_path / 'started')!r}, 'w')")
    with pytest.raises(BackendError, match="cannot be measured now: in use by coordinator demo"):
        await Probe(forbidden, pool, tmp_path, os.environ).measure(endpoint)
    assert pool.holder(endpoint) == "coordinator demo"
    assert not (tmp_path / "started").exists()


async def test_it_is_held_while_it_is_measured_and_let_go_when_we_lose_interest(rpc_worker, pool: Pool, tmp_path: Path) -> None:
    endpoint = rpc_worker().endpoint
    os.mkfifo(tmp_path / "started")
    slow = program(tmp_path, f"import os, time; open({str(tmp_path / 'started')!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    measuring = asyncio.create_task(Probe(slow, pool, tmp_path, os.environ).measure(endpoint))
    pid = int(await asyncio.to_thread((tmp_path / "started").read_text))
    assert pool.holder(endpoint) == f"a speed probe of {endpoint}"
    measuring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await measuring
    assert pool.holder(endpoint) is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_one_that_takes_too_long_is_given_up(rpc_worker, pool: Pool, tmp_path: Path) -> None:
    endpoint = rpc_worker().endpoint
    slow = program(tmp_path, "import time; time.sleep(600)")
    with pytest.raises(BackendError, match="could not be measured within"):
        await Probe(slow, pool, tmp_path, os.environ, within=0.5).measure(endpoint)
    assert pool.holder(endpoint) is None


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("raise SystemExit('it broke')", BackendError, "llama-bench failed at .*: it broke"),
        ("print('nonsense')", EngineError, "nothing that could be read"),
        ("print('[]')", EngineError, "nothing that could be read"),
        ("print('[3]')", EngineError, "nothing that could be read"),
        (
            f"print({json.dumps([{'n_gen': 0, 'n_prompt': 1, 'avg_ts': 0}, {'n_gen': 1, 'n_prompt': 0, 'avg_ts': 0}])!r})",
            EngineError,
            "nothing",
        ),
    ],
)
async def test_what_llama_bench_does_wrong_is_told(rpc_worker, pool: Pool, tmp_path: Path, text, error, said) -> None:
    endpoint = rpc_worker().endpoint
    with pytest.raises(error, match=said):
        await Probe(program(tmp_path, text), pool, tmp_path, os.environ).measure(endpoint)
    assert pool.holder(endpoint) is None
