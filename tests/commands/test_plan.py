"""plan and explain, as they are typed."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from conftest import _program
from models.conftest import F16, write_model

from synaptic.commands import explain, plan  # noqa: F401 - declares them
from synaptic.commands.registry import registry
from synaptic.environment import Environment
from synaptic.errors import BackendError, EngineError, SynapticError, UsageError
from synaptic.planning.costmodel import Prediction
from synaptic.planning.predictions import Measured
from synaptic.planning.term import MEMORY, Term
from synaptic.results import Facts
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio


def session_with(tmp_path: Path, **variables: str) -> Session:
    variables = {"SYNAPTICLLAMAS_HOME": str(tmp_path), **variables}
    return Session(Environment(variables, *(io.StringIO() for _ in range(3))), Settings.load(tmp_path / "s.json", {}))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Where llama.cpp is: its programs are found, and not started."""
    return session_with(tmp_path, LLAMA_SERVER=sys.executable, GGML_RPC_SERVER=sys.executable)


@pytest.fixture
def bare(tmp_path: Path) -> Session:
    """Without llama.cpp."""
    return session_with(tmp_path, PATH="")


async def type_line(session: Session, line: str) -> Facts:
    result = await registry.parse_line(line).run(session)
    assert isinstance(result, Facts)
    return result


def facts(result: Facts) -> dict[str, str]:
    return {label: value if isinstance(value, str) else value.text for label, value in result.facts}


async def test_without_a_worker_it_is_this_machine(session: Session) -> None:
    result = await type_line(session, "plan demo")
    said = facts(result)
    assert said["verdict"].startswith("demo fits on this machine: ")
    assert said["why"] == "4 layers on this machine"
    assert said["context"] == "512 tokens"
    assert "plan --probe" in (result.summary or "")


async def test_the_document_is_what_scripts_rely_on(session: Session) -> None:
    document = json.loads(json.dumps((await type_line(session, "plan demo --ctx 256 --parallel 2")).as_json()))
    assert document["model"] == "demo"
    assert document["engine"] == "llama.cpp"
    assert document["fits"] is True
    assert document["context"] == 256
    assert document["slots"] == 2
    assert document["missing_bytes"] == 0
    assert document["need_bytes"] < document["available_bytes"]
    (share,) = document["shares"]
    assert share.keys() >= {"endpoint", "layers", "weight_bytes", "kv_bytes", "compute_bytes"}
    assert document["prediction"].keys() >= {"tokens_per_second", "ttft_ms", "load_seconds", "bottleneck"}
    assert all(len(document["prediction"][name]) == 2 for name in ("tokens_per_second", "ttft_ms", "load_seconds"))
    assert all(each.keys() == {"change", "effect"} for each in document["alternatives"])


async def test_without_llama_cpp_it_is_what_the_built_in_engine_would_do(bare: Session) -> None:
    document = (await type_line(bare, "plan demo")).as_json()
    route = await bare.answering.route("demo")
    assert isinstance(document, dict)
    assert (document["model"], document["engine"]) == (route.model.name, route.via) == ("demo", "builtin")
    assert route.plan
    assert document["context"] == route.plan.context


async def test_what_is_planned_for_llama_cpp_by_name_is_also_where_it_is_not_installed(bare: Session) -> None:
    with pytest.raises(BackendError, match="no worker to measure"):
        await type_line(bare, "plan demo --probe")
    bare.settings.for_now(via="llama.cpp")
    document = (await type_line(bare, "plan demo")).as_json()
    assert isinstance(document, dict)
    assert document["engine"] == "llama.cpp"


async def test_where_the_engine_of_the_settings_is_the_built_in_one_it_is_planned_for(session: Session) -> None:
    session.settings.for_now(via="builtin")
    document = (await type_line(session, "plan demo --split none")).as_json()
    assert isinstance(document, dict)
    assert (document["engine"], document["split"]) == ("builtin", "none")


@pytest.mark.live
async def test_over_named_workers_measured_first(session: Session, rpc_worker, tmp_path: Path) -> None:
    session = session_with(tmp_path, **{name: str(_program(name)) for name in ("LLAMA_BENCH", "LLAMA_SERVER", "GGML_RPC_SERVER")})
    named = ",".join(str(rpc_worker().endpoint) for _ in range(2))
    before = await type_line(session, f"plan demo --on {named}")
    assert before.summary
    result = await type_line(session, f"plan demo --on {named} --probe")
    assert result.summary is None
    assert facts(result)["verdict"].startswith("demo fits on 2 workers: ")
    document = result.as_json()
    assert isinstance(document, dict)
    assert sorted(share["endpoint"] for share in document["shares"]) == sorted(named.split(","))
    assert sum(document["tensor_split"]) == 5
    assert document["prediction"]["is_assumed"] is False
    assert (await type_line(session, f"plan demo --on {named}")).summary is None  # it is remembered


async def test_a_named_worker_that_is_not_there_is_an_error(session: Session, free_port: int) -> None:
    with pytest.raises(BackendError, match=f"127.0.0.1:{free_port} is not ready"):
        await type_line(session, f"plan demo --on 127.0.0.1:{free_port}")


async def test_nobody_to_measure_is_an_error(session: Session) -> None:
    with pytest.raises(BackendError, match="no worker to measure"):
        await type_line(session, "plan demo --probe")


@pytest.mark.parametrize("line", ["plan demo --ctx 0", "plan demo --parallel 0", "plan demo --parallel 99", "plan demo --on :,", "plan"])
async def test_what_makes_no_sense_is_a_usage_error(session: Session, line: str) -> None:
    with pytest.raises(UsageError):
        await type_line(session, line)


async def test_a_file_without_layers_cannot_be_placed(session: Session, tmp_path: Path) -> None:
    path = write_model(tmp_path / "flat.gguf", {"token_embd.weight": ((64, 64), F16)})
    with pytest.raises(EngineError, match="has no layers that could be placed"):
        await type_line(session, f"plan {path}")


async def test_explain_needs_an_answer_first(session: Session) -> None:
    with pytest.raises(SynapticError, match="no answer has been predicted"):
        await type_line(session, "explain")


@pytest.mark.parametrize(
    ("rate", "speed"),
    [
        (10.0, "10.0 tok/s, as predicted 9.0 to 11.0"),
        (5.0, "5.0 tok/s, worse than predicted 9.0 to 11.0"),
        (20.0, "20.0 tok/s, better than predicted 9.0 to 11.0"),
    ],
)
async def test_explain_shows_both_and_what_no_term_accounts_for(session: Session, rate: float, speed: str) -> None:
    said = Prediction(
        (9.0, 11.0),
        (100.0, 200.0),
        (1.0, 2.0),
        "memory bandwidth of x, 90% of each token",
        (Term(MEMORY, 0.09, "x"), Term("the coordinator", 0.01)),
    )
    session.predictions.record("demo", said, Measured(rate, 300.0, 20))
    result = await type_line(session, "explain")
    assert facts(result)["speed"] == speed
    assert facts(result)["first token"] == "300.0 ms, worse than predicted 100.0 to 200.0"
    assert facts(result)["bottleneck"] == "memory bandwidth of x, 90% of each token"
    rows = [[cell.text for cell in row] for row in result.tables[0][1].cells()]
    assert rows[0] == ["memory bandwidth of x", "90.00", "90%"]
    assert rows[-1][:2] == ["measured, beyond the terms", f"{1000 / rate - 100:.2f}"]


async def test_without_flags_the_settings_count(session: Session) -> None:
    session.settings.for_now(context=256, parallel=2)
    placed = [
        {label: text for label, text in (await type_line(session, line)).facts if label in ("verdict", "context")}
        for line in ("plan demo", "plan demo --ctx 256 --parallel 2", "plan demo --ctx 256 --parallel 1")
    ]
    assert placed[0]["context"] == placed[1]["context"] != placed[2]["context"]
