"""bench run at servers of other kinds: what they are called, with which words they are asked, and with which key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gateways import serving

from synaptic.commands import load
from synaptic.errors import EngineError

pytestmark = pytest.mark.anyio
registry = load()


async def run(session, line: str) -> dict:
    result = await registry.parse_line(f"bench run {line} --requests 2 --repeats 2").run(session)
    return json.loads(json.dumps(result.as_json()))


async def test_a_vllm_is_known_by_its_name_and_its_figures_are_watched(program, session_with) -> None:
    url = f"http://127.0.0.1:{program('vllmfake.py')}"
    found = await run(session_with(), f"--endpoint {url}")
    assert found["software"] == {"engine": "vLLM", "build": "0.32.0", "where": url}
    assert found["model"]["name"] == "tiny"
    assert any(node.startswith("requests at ") for node in found["telemetry"])
    assert (found["shapes"][0]["errors"], found["shapes"][0]["why_not"]) == (0, "")


async def test_a_server_that_wants_a_key_is_asked_with_it(program, session_with) -> None:
    session, url = session_with(KEY="secret"), f"http://127.0.0.1:{program('vllmfake.py', '--key', 'secret')}"
    found = await run(session, f"--endpoint {url} --key-env KEY")
    assert found["software"]["engine"] == "vLLM"
    assert found["shapes"][0]["errors"] == 0
    with pytest.raises(EngineError, match="wants a key") as caught:
        await run(session, f"--endpoint {url}")
    assert caught.value.hint == "--key-env names the variable with its key"


@pytest.mark.live
async def test_our_own_gateway_is_measured_as_what_it_is(llama_server: Path, tmp_path: Path, session_with) -> None:
    (tmp_path / "gateway").mkdir()
    async with serving(tmp_path / "gateway", LLAMA_SERVER=str(llama_server)) as served:
        found = await run(session_with(), f"--model demo --endpoint {served.url} --concurrency 1,2")
    assert found["software"]["engine"] == "SynapticLlamas gateway"
    assert [(shape["errors"], shape["why_not"]) for shape in found["shapes"]] == [(0, ""), (0, "")]
    assert all(shape["cache"]["unknown"] == 0 for shape in found["shapes"])
