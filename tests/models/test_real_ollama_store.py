"""The store of a real Ollama, read beside it."""

from __future__ import annotations

import dataclasses
import json
import urllib.request

from ollamas import MODEL, RealOllama

from synaptic.models.catalog import Catalog
from synaptic.models.gguf import read_header
from synaptic.models.model import OLLAMA, Offer
from synaptic.models.ollama_name import OllamaName
from synaptic.models.ollama_store import listed, resolve, stores

NAMES = ("me/demo:7b", "hf.co/org/repo:Q4_K_M", "127.0.0.1:5000/team/model:v1", "Demo:Q4")


def post(url: str, **body: object) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=50) as answer:
        answer.read()


def tags(ollama: RealOllama) -> list[str]:
    with urllib.request.urlopen(f"{ollama.url}/api/tags", timeout=50) as answer:
        return [each["name"] for each in json.load(answer)["models"]]


def test_each_name_that_it_lists_is_found_with_the_model_in_it(ollama: RealOllama) -> None:
    for name in NAMES:
        post(f"{ollama.url}/api/copy", source="demo", destination=name)
    found = stores({"OLLAMA_MODELS": str(ollama.home / "models")}, ollama.home, [])
    assert found == [ollama.home / "models"]
    names = tags(ollama)
    assert sorted(each.name.short for each in listed(found)) == sorted(names)
    assert len(names) == len(NAMES) + 1
    for name in (*names, *NAMES, "demo", "DEMO", "library/demo", "registry.ollama.ai/library/demo:latest"):
        header = read_header(resolve(OllamaName.parse(name), found).path)  # it writes the keys in another order
        assert dataclasses.replace(header, file_bytes=0) == dataclasses.replace(read_header(MODEL), file_bytes=0)


def test_what_it_offers_and_what_lies_here_is_one_model(ollama: RealOllama) -> None:
    offers = [Offer(name, ollama.url, OLLAMA) for name in tags(ollama)]
    catalog = Catalog(tuple, None, stores=lambda: [ollama.home / "models"], offers=lambda: offers)
    model = catalog.find("demo")
    assert (model.name, model.engines, model.layers) == ("demo:latest", ("ollama", "llama.cpp"), 4)
    assert len(catalog.models()) == len(offers)
