"""verify, over real workers, one of which may lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from synaptic.commands import load
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, EngineError, UsageError

pytestmark = pytest.mark.anyio
registry = load()


@pytest.fixture
def real(session_with, llama_server: Path, ggml_rpc_server: Path):
    return session_with(LLAMA_SERVER=str(llama_server), GGML_RPC_SERVER=str(ggml_rpc_server))


@pytest.mark.live
async def test_workers_that_compute_rightly_agree_and_are_free_again(real, rpc_worker) -> None:
    workers = [rpc_worker().endpoint for _ in range(2)]
    try:
        await real.add_backends(workers)
        rows = await registry.parse_line("verify --tokens 12").run(real)
        assert real.coordinators.up() == []
        assert all(each.is_ready for each in await real.pool.check(workers))
    finally:
        await real.close()
    said = rows.as_json()
    assert (rows.exit_code, said["agrees"], said["wrong"]) == (0, True, [])
    reference, split, *others = said["ways"]
    assert (reference["name"], reference["agreement"]) == ("this machine", None)
    assert sorted(split["workers"]) == sorted(map(str, workers))
    assert split["agreement"]["verdict"] in ("same", "rounding")
    assert split["agreement"]["gap"] < 0.1
    assert others[-1]["name"].startswith("builtin")  # the same model in another file, by another engine
    assert others[-1]["agreement"]["verdict"] == "same"


@pytest.mark.live
async def test_a_worker_that_computes_wrongly_is_named(real, rpc_worker, program) -> None:
    honest, behind = rpc_worker().endpoint, rpc_worker().endpoint
    liar = Endpoint("127.0.0.1", program("lyingproxy.py", "--to", str(behind)))
    try:
        await real.add_backends([liar, honest])
        rows = await registry.parse_line("verify --no-others --tokens 12").run(real)
    finally:
        await real.close()
    said = rows.as_json()
    assert (rows.exit_code, said["agrees"], said["wrong"]) == (1, False, [str(liar)])
    assert rows.summary == f"{liar} computes wrongly: rpc remove {liar} leaves it out"


@pytest.mark.live
async def test_a_single_worker_that_lies_needs_no_second_to_be_found(real, rpc_worker, program) -> None:
    liar = Endpoint("127.0.0.1", program("lyingproxy.py", "--to", str(rpc_worker().endpoint), "--every", "2"))
    try:
        await real.add_backends([liar])
        rows = await registry.parse_line("verify demo --no-others --tokens 8").run(real)
    finally:
        await real.close()
    assert rows.as_json()["wrong"] == [str(liar)]


@pytest.mark.live
async def test_a_real_ollama_with_the_same_file_says_the_same(session_with, llama_server: Path, ollama) -> None:
    """llama-server runs the file in the store that Ollama serves from."""
    session = session_with(LLAMA_SERVER=str(llama_server), OLLAMA_MODELS=str(ollama.home / "models"))
    try:
        await registry.parse_line(f"nodes add {ollama.url}").run(session)
        rows = await registry.parse_line("verify demo:latest --tokens 24").run(session)
    finally:
        await session.close()
    said = rows.as_json()
    reference, there = said["ways"]
    assert (reference["name"], there["name"]) == ("this machine", f"ollama at {ollama.url}")
    assert there["agreement"] == {"verdict": "same", "gap": None, "at": None}
    assert there["written"]["text"] == reference["written"]["text"] != ""
    assert (rows.exit_code, said["agrees"]) == (0, True)


@pytest.mark.live
async def test_with_nobody_to_compare_with_it_says_so(real) -> None:
    try:
        with pytest.raises(BackendError, match="there is nothing to compare"):
            await registry.parse_line("verify --no-others --tokens 1").run(real)
    finally:
        await real.close()


@pytest.mark.parametrize(
    ("line", "error", "why"),
    [("verify --tokens 0", UsageError, "1 to 1024"), ("verify {m}", EngineError, "llama.cpp cannot run")],
)
async def test_what_cannot_be_verified_is_refused(session_with, line: str, error: type[Exception], why: str) -> None:
    model = Path(__file__).parents[2] / "config" / "demo" / "demo-q40.m"
    with pytest.raises(error, match=why):
        await registry.parse_line(line.format(m=model)).run(session_with())
