"""What servers say of their models, true or not."""

from __future__ import annotations

import json

import pytest
from ollamas import DATA

from synaptic.cluster.offers import MOST, Loaded, loaded_at, of_ollama, of_openai, parameters
from synaptic.models.model import OLLAMA, OPENAI, Offer

URL = "http://10.0.0.5:11434"
NONE = Loaded({}, 0)


def recorded(name: str) -> object:
    return json.loads((DATA / name).read_text())


def test_ollamas_own_words() -> None:
    loaded = loaded_at(recorded("ps.json"))
    offer = of_ollama(recorded("tags.json"), loaded, URL)[0]
    digest = "bb9c1885c140015b3f757f256a18480a2abe679c47aab12426cc22148ba85984"
    assert offer == Offer(
        "demo:latest", URL, OLLAMA, 1639079, 2_360_000, "Q4_0", "llama", 512, digest, True, "2026-11-21T14:40:41.159659403Z"
    )


@pytest.mark.parametrize(
    ("said", "until"),
    [
        ("2026-11-21T14:40:41.159659403+01:00", "2026-11-21T14:40:41.159659403+01:00"),
        ("2318-01-01T00:00:00Z", "2318-01-01T00:00:00Z"),
        ("soon\x1b[2J", ""),
        ("2026-11-21T14:40:41Z\n", ""),
        (7, ""),
    ],
)
def test_until_when_it_is_there(said: object, until: str) -> None:
    loaded = loaded_at({"models": [{"name": "a", "size": 5, "size_vram": 3, "expires_at": said}]})
    (offer,) = of_ollama({"models": [{"name": "a", "size": 5}]}, loaded, URL)
    assert (offer.is_loaded, offer.loaded_until, offer.on_gpu) == (True, until, 3)


def test_what_is_in_memory_is_counted() -> None:
    assert loaded_at({"models": [{"name": "a", "size": 5}, {"name": "b", "size": 7}, {"name": "c", "size": "9"}]}).bytes == 12


def test_llama_server_and_vllm() -> None:
    meta = {"n_params": 8_030_261_248, "size": 4_912_898_304, "n_ctx_train": 131072, "n_ctx": 8192}
    assert of_openai({"data": [{"id": "m.gguf", "owned_by": "llamacpp", "meta": meta}]}, "llama-server", URL) == (
        Offer("m.gguf", URL, OPENAI, 4_912_898_304, 8_030_261_248, context=8192, is_loaded=True),
    )
    assert of_openai({"data": [{"id": "Qwen/Qwen3-8B", "max_model_len": 4096}]}, "vLLM", URL)[0].context == 4096
    routed = [{"id": name, "status": {"value": value}} for name, value in (("a", "loaded"), ("b", "unloaded"))]
    assert [offer.is_loaded for offer in of_openai({"data": routed}, "llama-server", URL)] == [True, False]
    assert not of_openai({"data": [{"id": "gpt"}]}, "OpenAI-compatible", URL)[0].is_loaded


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("8.0B", 8_000_000_000),
        ("2.36M", 2_360_000),
        ("671b", 671_000_000_000),
        ("1T", 10**12),
        ("135", 135),
        ("", 0),
        ("8x7B", 0),
        ("1e99B", 0),
    ],
)
def test_sizes_in_words(text: str, count: int) -> None:
    assert parameters(text) == count


@pytest.mark.parametrize("body", [None, [], "x", {"models": None}, {"models": [None, 1, {}]}, {"models": [{"name": 7}]}])
def test_nonsense_offers_nothing(body: object) -> None:
    assert of_ollama(body, NONE, URL) == ()


@pytest.mark.parametrize("name", ["", " x", "a\x1b[2J", "a\nb", "x" * 301, "\u202e"])
def test_a_name_that_cannot_be_shown_is_no_offer(name: str) -> None:
    assert of_ollama({"models": [{"name": name}]}, NONE, URL) == ()


def test_numbers_out_of_all_bounds_count_as_unknown() -> None:
    entry = {"name": "m", "size": -1, "digest": 7, "details": {"context_length": 1e300, "parameter_size": [], "family": "\x1b[2J"}}
    assert of_ollama({"models": [entry]}, NONE, URL) == (Offer("m", URL, OLLAMA, family="^[[2J"),)
    assert of_ollama({"models": [{"name": "m", "size": True}, {"name": "n", "size": 2**70}]}, NONE, URL)[1].bytes == 0


def test_a_server_with_a_million_models_is_cut() -> None:
    assert len(of_ollama({"models": [{"name": f"m{number}"} for number in range(MOST + 5)]}, NONE, URL)) == MOST
