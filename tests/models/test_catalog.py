"""What can be named, what is found, and what is said when it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dllama.dllamas import LLAMA_BYTES, Q40, write
from models.conftest import F32, small_model, write_model
from models.stores import add, blob
from models.test_split import write_parts

from synaptic.errors import EngineError
from synaptic.models.catalog import RECENT, Catalog
from synaptic.models.folders import SMALLEST_DLLAMA
from synaptic.models.model import OLLAMA, OPENAI, Offer

DEMO = Path(__file__).parents[2] / "config" / "demo" / "demo-q4_0.gguf"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def catalog(folder: Path) -> Catalog:
    return Catalog(lambda: [folder], DEMO)


def unfound(catalog: Catalog, name: str) -> EngineError:
    with pytest.raises(EngineError) as caught:
        catalog.find(name)
    return caught.value


def test_the_shipped_model_is_called_demo_and_is_asked_without_chance(catalog: Catalog) -> None:
    model = catalog.find("demo")
    assert (model.name, model.source, model.path, model.temperature) == ("demo", "shipped", DEMO, 0.0)
    assert (model.parameters, model.layers, model.context, model.quantization) == (2_361_600, 4, 512, "Q4_0")
    assert model.engines == ("llama.cpp",)
    assert model.bytes == DEMO.stat().st_size


def test_a_model_in_a_folder_goes_by_its_file_name(catalog: Catalog, folder: Path) -> None:
    path = small_model(folder / "sub" / "Llama-7B.Q4_0.gguf")
    model = catalog.find("llama-7b.q4_0")
    assert (model.name, model.source, model.path, model.temperature) == ("Llama-7B.Q4_0", "folder", path, None)
    assert catalog.names() == [("demo", "shipped"), ("Llama-7B.Q4_0", str(path.parent))]
    assert catalog.find("Llama-7B.Q4_0.gguf") == model


def test_a_name_that_is_taken_leaves_the_path(catalog: Catalog, folder: Path) -> None:
    small_model(folder / "m.gguf", layers=1)
    second = small_model(folder / "sub" / "M.gguf", layers=2)
    other = small_model(folder / "demo.gguf")
    assert catalog.find("m").layers == 1
    assert catalog.find(str(second)).layers == 2
    assert [name for name, _ in catalog.names()] == ["demo", str(other), "m", str(second)]


@pytest.mark.parametrize("typed", ["{path}", "../elsewhere/x.gguf", "~/x.gguf", "x.gguf"])
def test_a_path_is_a_name(typed: str, tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_model(tmp_path / "elsewhere" / "x.gguf")
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.chdir(path.parent)
    name = typed.format(path=path)
    assert catalog.knows(name)
    model = catalog.find(name)
    assert (model.name, model.source, model.path) == (str(path), "file", path)
    assert catalog.find(model.name) == model


def test_the_path_of_a_named_model_is_that_model(catalog: Catalog, folder: Path) -> None:
    path = small_model(folder / "m.gguf")
    assert catalog.find(str(path)).name == "m"
    assert catalog.find(str(DEMO)).name == "demo"


def test_what_is_not_there_is_said_with_a_way_out(catalog: Catalog, tmp_path: Path) -> None:
    assert str(unfound(catalog, "llama3.1:70b")) == 'no model named "llama3.1:70b" here'
    assert unfound(catalog, "llama3.1:70b").hint == "try: model list"
    assert unfound(catalog, "Dmo").hint == "did you mean: demo"
    assert "there is no file" in str(unfound(catalog, str(tmp_path / "gone.gguf")))
    assert "is a folder" in str(unfound(catalog, str(tmp_path)))
    assert "no name a file can have" in str(unfound(catalog, "/nul\0"))
    assert "~nobody-of-this-name" in str(unfound(catalog, "~nobody-of-this-name/x"))
    assert str(unfound(catalog, "\x1b[2J" + "x" * 999)).startswith('no model named "^[[2Jxxx')


def test_knowing_a_name_opens_no_file(catalog: Catalog, folder: Path) -> None:
    os.mkfifo(folder / "pipe.gguf")
    (folder / "broken.gguf").write_text("nothing")
    assert catalog.knows("broken")
    assert catalog.knows("PIPE")
    assert not catalog.knows("other")
    assert not catalog.knows("/tmp")
    assert not catalog.knows("and/or")
    assert not catalog.knows("x" * 300 + ".gguf")
    assert not catalog.knows("")


def test_completion_trusts_the_last_walk_for_a_moment(folder: Path) -> None:
    clock, folders = Clock(), [folder]
    catalog = Catalog(lambda: folders, None, clock)
    assert not catalog.knows("late")
    small_model(folder / "late.gguf")
    assert not catalog.knows("late")
    clock.now = RECENT
    assert catalog.knows("late")
    folders.clear()
    assert not catalog.knows("late")


def test_finding_never_trusts_an_old_walk(folder: Path) -> None:
    catalog = Catalog(lambda: [folder], None, Clock())
    assert catalog.names() == []
    small_model(folder / "late.gguf")
    assert catalog.find("late").name == "late"
    assert catalog.knows("late")


def test_a_file_that_changed_is_read_again(catalog: Catalog, folder: Path) -> None:
    small_model(folder / "m.gguf", layers=1)
    assert catalog.find("m").layers == 1
    small_model(folder / "m.gguf", layers=2)
    assert catalog.find("m").layers == 2


def test_a_file_that_vanishes_after_it_was_found_is_said(catalog: Catalog, folder: Path) -> None:
    path = small_model(folder / "m.gguf")
    model = catalog.find("m")
    path.unlink()
    with pytest.raises(EngineError, match="there is no file .*m.gguf"):
        catalog.header(model)


def test_a_survey_names_what_it_cannot_read(catalog: Catalog, folder: Path) -> None:
    path = small_model(folder / "cut.gguf")
    path.write_bytes(path.read_bytes()[:-1000])
    small_model(folder / "good.gguf")
    survey = catalog.survey()
    assert [model.name for model in survey.models] == ["demo", "good"]
    assert len(survey.unreadable) == 1
    assert "cut.gguf ends early, 1000 B are missing" in survey.unreadable[0]
    assert catalog.models() == list(survey.models)


@pytest.mark.parametrize(
    ("architecture", "kind", "sentence"),
    [("llama", "adapter", "is no language model but adapter"), ("clip", "model", "is no language model but clip")],
)
def test_what_is_no_language_model_is_not_listed(architecture: str, kind: str, sentence: str, catalog: Catalog, folder: Path) -> None:
    write_model(folder / "part.gguf", {"v.weight": ((2, 32), F32)}, architecture, texts={"general.type": kind})
    write_model(folder / "empty.gguf", {}, layers=2)
    assert [model.name for model in catalog.models()] == ["demo"]
    assert sentence in str(unfound(catalog, "part"))
    assert "holds no weights" in str(unfound(catalog, "empty"))


def test_without_the_shipped_file_there_is_no_demo(folder: Path) -> None:
    catalog = Catalog(lambda: [folder], folder / "demo-q4_0.gguf")
    assert catalog.names() == []
    assert str(unfound(catalog, "demo")) == 'no model named "demo" here'


NODE = "http://127.0.0.1:11434"


def with_store(tmp_path: Path, *offers: Offer) -> Catalog:
    return Catalog(tuple, DEMO, stores=lambda: [tmp_path / "store"], offers=lambda: offers, links=tmp_path / "links")


def stored(tmp_path: Path, name: str, layers: int = 2) -> bytes:
    data = small_model(tmp_path / "source" / "m.gguf", layers).read_bytes()
    add(tmp_path / "store", name, ("model", data))
    return data


@pytest.mark.parametrize("typed", ["llama3.1:70b", "LLAMA3.1:70B", "library/llama3.1:70b", "registry.ollama.ai/library/llama3.1:70b"])
def test_a_model_of_ollamas_store_is_found_in_place(typed: str, tmp_path: Path) -> None:
    data = stored(tmp_path, "llama3.1:70b")
    catalog = with_store(tmp_path)
    assert catalog.knows(typed)
    model = catalog.find(typed)
    assert (model.name, model.source, model.engines) == ("llama3.1:70b", "ollama", ("llama.cpp",))
    assert model.path == blob(tmp_path / "store", data)
    assert (model.layers, model.bytes) == (2, len(data))
    assert catalog.header(model).layers == 2
    assert catalog.names() == [("demo", "shipped"), ("llama3.1:70b", str(tmp_path / "store"))]


def test_what_a_store_and_a_server_have_is_one_model(tmp_path: Path) -> None:
    stored(tmp_path, "hf.co/org/repo:Q4_0")
    offer = Offer("HF.co/org/repo:q4_0", NODE, OLLAMA, bytes=7, parameters=10**9)
    catalog = with_store(tmp_path, offer)
    model = catalog.find("hf.co/Org/repo:Q4_0")
    assert model.engines == ("ollama", "llama.cpp")
    assert model.offers == (offer,)
    assert model.parameters < 10**6  # the file knows better
    assert [each.name for each in catalog.models()] == ["demo", "hf.co/org/repo:Q4_0"]


def test_what_only_servers_have_has_no_file(tmp_path: Path) -> None:
    offers = (
        Offer("qwen3:235b-a22b", NODE, OLLAMA, bytes=142 * 10**9, parameters=235_100_000_000, quantization="Q4_K_M", family="qwen3moe"),
        Offer("qwen3:235b-A22B", "http://127.0.0.2:11434", OLLAMA),
        Offer("org/served-7b", "http://127.0.0.3:8000", OPENAI, context=4096),
        Offer("llama3.2:latest", NODE, OLLAMA),
    )
    catalog = with_store(tmp_path, *offers)
    model = catalog.find("qwen3:235b-a22b")
    assert (model.path, model.source, model.engines, model.offers) == (None, "node", ("ollama",), offers[:2])
    assert (model.parameters, round(model.active_parameters / 10**9), model.quantization) == (235_100_000_000, 22, "Q4_K_M")
    served = catalog.find("org/served-7b")
    assert (served.parameters, served.engines, served.context) == (7 * 10**9, ("openai",), 4096)
    assert catalog.find("llama3.2").parameters == 3_200_000_000
    assert ("org/served-7b", "http://127.0.0.3:8000") in catalog.names()
    with pytest.raises(EngineError, match="has no file on this machine"):
        catalog.header(model)


def test_a_broken_blob_matters_only_where_no_server_has_the_model(tmp_path: Path) -> None:
    data = stored(tmp_path, "m:7b")
    blob(tmp_path / "store", data).unlink()
    assert "is gone" in str(unfound(with_store(tmp_path), "m:7b"))
    model = with_store(tmp_path, Offer("m:7b", NODE, OLLAMA)).find("m:7b")
    assert (model.path, model.engines, model.parameters) == (None, ("ollama",), 7 * 10**9)
    assert "is gone" in with_store(tmp_path).survey().unreadable[0]


def test_the_shipped_model_keeps_its_name(tmp_path: Path) -> None:
    stored(tmp_path, "demo")
    catalog = with_store(tmp_path, Offer("demo:latest", NODE, OLLAMA))
    assert catalog.find("demo").source == "shipped"
    assert catalog.find("demo:latest").engines == ("ollama", "llama.cpp")


def test_a_model_that_is_nowhere_may_be_pulled(tmp_path: Path) -> None:
    assert unfound(with_store(tmp_path), "mixtral:8x22b").hint == "try: model list, or: model pull mixtral:8x22b"
    assert str(unfound(with_store(tmp_path), "org/nothing")) == 'no model named "org/nothing" here'


def test_a_split_model_of_a_store_is_read_through_links(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    write_parts(tmp_path / "parts")
    add(tmp_path / "store", "big", *(("model", path.read_bytes()) for path in (tmp_path / "parts").iterdir()))
    model = with_store(tmp_path).find("big")
    assert model.path
    assert model.path.parent == tmp_path / "links"
    assert (model.layers, model.source) == (3, "ollama")


def test_a_model_of_distributed_llama_is_asked_of_dllama(catalog: Catalog, folder: Path) -> None:
    path = write(folder / "dllama_model_small_q40.m", LLAMA_BYTES + int(12_900 * 64 * (4 + Q40)), vocab=13_000)
    assert path.stat().st_size > SMALLEST_DLLAMA
    (folder / "program.m").write_text("x = 1;")
    model = catalog.find("dllama_model_small_q40")
    assert (model.engines, model.quantization, model.layers, model.path) == (("dllama",), "Q40", 2, path)
    assert catalog.find(str(path)) == model
    header = catalog.dllama_header(model)
    assert header is not None
    assert header.vocabulary == 13_000
    assert catalog.dllama_header(catalog.find("demo")) is None
    assert [each.name for each in catalog.models()] == ["demo", "dllama_model_small_q40"]
    path.write_bytes(path.read_bytes()[:-5])
    assert "ends early, 5 bytes are missing" in str(unfound(catalog, str(path)))
