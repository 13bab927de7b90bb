"""What can be named, what is found, and what is said when it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from models.conftest import F32, small_model, write_model

from synaptic.errors import EngineError
from synaptic.models.catalog import RECENT, Catalog

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
