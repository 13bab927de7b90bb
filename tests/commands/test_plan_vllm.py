"""`plan` for the vLLM of a hardware profile, as it is typed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from synaptic.commands import plan  # noqa: F401 - declares it
from synaptic.commands.registry import registry
from synaptic.environment import Environment
from synaptic.errors import EngineError, SynapticError, UsageError
from synaptic.results import Facts, to_json
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio
PROFILE = """\
schema: 1
name: two
version: "0.1"
status: active
networks: {{lan: {{kind: ethernet, cidr: 10.0.0.0/24, gbps: {{spec: {gbps}, source: s, at: 2026-11-21}},
                   rtt_us: {{measured: {rtt}, source: ping, at: 2026-11-21}}}}}}
node_classes:
  box:
    arch: x86_64
    devices: [{{id: gpu0, kind: gpu, vendor: intel, model: A770, mem_gib: {{spec: {memory}, source: s, at: 2026-11-21}},
                mem_bw_gbs: {{spec: 560, source: s, at: 2026-11-21}}}}]
nodes: {{a: {{class: box, addr: {{lan: 10.0.0.10}}}}, b: {{class: box, addr: {{lan: 10.0.0.11}}}}}}
roles: {{vllm_head: a, vllm_worker: [b]}}
services:
  vllm:
    model: /srv/models/Mistral-Small-AWQ
    quantization: awq
    architecture: {{source: config.json, layers: 56, hidden: 6144, heads: 48, kv_heads: 8, head_dim: 128, intermediate: 16384,
                    vocabulary: 32768}}
"""


@pytest.fixture
def session(tmp_path: Path) -> Session:
    variables = {"SYNAPTICLLAMAS_HOME": str(tmp_path)}
    return Session(Environment(variables, *(io.StringIO() for _ in range(3))), Settings.load(tmp_path / "s.json", {}))


def written(folder: Path, gbps: float = 1, rtt: float = 200, memory: float = 16) -> Path:
    path = folder / "two.yaml"
    path.write_text(PROFILE.format(gbps=gbps, rtt=rtt, memory=memory))
    return path


async def typed(session: Session, line: str) -> tuple[dict[str, str], Facts]:
    result = await registry.parse_line(line).run(session)
    assert isinstance(result, Facts)
    return {label: value if isinstance(value, str) else value.text for label, value in result.facts}, result


@pytest.mark.parametrize("model", ["vllm", "Mistral-Small-AWQ", "/srv/models/Mistral-Small-AWQ"])
async def test_over_a_slow_link_layers_are_cut(session: Session, tmp_path: Path, model: str) -> None:
    said, result = await typed(session, f"plan {model} --profile {written(tmp_path)}")
    assert said["verdict"].startswith("Mistral-Small-AWQ on vLLM on 2 nodes of two@0.1: layers by 2, 8.0 GiB on each accelerator, ")
    assert said["cut"] == "--tensor-parallel-size 1 --pipeline-parallel-size 2"
    assert said["why"] == "Layers by 2: 27.6 tok/s expected, 18.7 with tensors by 2."
    assert (said["for"], said["link"]) == ("1 answer at once, of 8192 tokens", "200 µs there and back, 1 Gbit/s")
    document = json.loads(json.dumps(to_json(result.data)))
    assert (document["engine"], document["tensor"], document["pipeline"]) == ("vllm", 1, 2)
    assert [(each["tensor"], each["nodes"], each["chosen"]) for each in document["layouts"]] == [(1, 1, False), (1, 2, True), (2, 2, False)]
    assert document["layouts"][0]["against"] == "needs 14.6 GiB on each, and vLLM takes 14.4 GiB of theirs"


async def test_over_a_fast_one_tensors_are(session: Session, tmp_path: Path) -> None:
    said, _ = await typed(session, f"plan vllm --profile {written(tmp_path, gbps=100, rtt=8)} --ctx 4096 --parallel 4")
    assert said["cut"] == "--tensor-parallel-size 2 --pipeline-parallel-size 1"
    assert said["for"] == "4 answers at once, of 4096 tokens"


async def test_who_uses_more_nodes_than_help_is_told(session: Session, tmp_path: Path) -> None:
    _, result = await typed(session, f"plan vllm --profile {written(tmp_path, memory=24)}")
    assert result.summary is not None
    assert result.summary.startswith("1 node alone would be faster: 27.8 tok/s with one accelerator")


async def test_a_folder_says_itself_how_its_model_is_built(session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "Small"
    folder.mkdir()
    sizes = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64}
    (folder / "config.json").write_text(json.dumps({**sizes, "num_hidden_layers": 16, "vocab_size": 128256}))
    said, _ = await typed(session, f"plan {folder} --profile {written(tmp_path)}")
    assert said["verdict"].startswith("Small on vLLM")


async def test_what_fits_nowhere_says_what_is_missing(session: Session, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="vLLM cannot serve this model on two@0.1: layers by 2: needs 8.0 GiB on each"):
        await typed(session, f"plan vllm --profile {written(tmp_path, memory=8)}")


async def test_the_shipped_one_says_what_it_does_not_know(session: Session) -> None:
    said, _ = await typed(session, "plan mistral-small --profile arc-a770")
    assert said["verdict"] == "mistral-small on vLLM on 2 nodes of arc-a770@0.1: layers by 2, 8.0 GiB on each accelerator"
    assert "Not known, so not weighed: the accelerators' memory bandwidth" in said["why"]
    assert said["link"] == "not known; profile probe measures it"


async def test_a_model_goes_by_the_name_that_it_had_before_it_was_quantized(session: Session) -> None:
    said, _ = await typed(session, "plan Mistral-Small-Instruct-2409 --profile arc-a770")
    assert said["cut"] == "--tensor-parallel-size 1 --pipeline-parallel-size 2"


async def test_other_models_and_profiles_are_planned_as_before(session: Session) -> None:
    with pytest.raises((EngineError, SynapticError)):
        await typed(session, "plan no-such-model --profile arc-a770")
    said, _ = await typed(session, "plan demo --profile beefcake")
    assert "cut" not in said
