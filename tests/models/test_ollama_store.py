"""Ollama's models, found where they lie; and each way in which one can fail to be there, said by its own sentence."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from models.conftest import small_model
from models.stores import add, blob
from models.test_split import write_parts

from synaptic.errors import EngineError
from synaptic.models.ollama_name import OllamaName
from synaptic.models.ollama_parts import linked
from synaptic.models.ollama_store import Blob, listed, resolve, stores
from synaptic.models.split import read_whole


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    return small_model(tmp_path / "source" / "m.gguf").read_bytes()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def found(name: str, *folders: Path) -> Blob:
    return resolve(OllamaName.parse(name), folders)


def refused(name: str, *folders: Path) -> EngineError:
    with pytest.raises(EngineError) as caught:
        found(name, *folders)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


def rewrite(manifest: Path, **change: object) -> None:
    """Change the first layer."""
    document = json.loads(manifest.read_text())
    document["layers"][0].update(change)
    manifest.write_text(json.dumps(document))


NAMES = ("m", "m:3b", "me/m:7b", "hf.co/org/repo:Q4_K_M", "my.registry:5000/team/m:v1")


@pytest.mark.parametrize("typed", [*NAMES, "library/m", "registry.ollama.ai/library/m:latest", "M:3B", "HF.co/Org/Repo:q4_k_m"])
def test_every_form_of_a_name_leads_to_the_blob_in_place(typed: str, store: Path, data: bytes) -> None:
    for name in NAMES:
        add(store, name, ("license", b"free"), ("model", data), ("template", b"{{ .Prompt }}"))
    model = found(typed, store)
    assert model.path == blob(store, data)
    assert model.parts == (model.path,)
    assert (model.projectors, model.adapters) == ((), ())
    assert model.digest == "sha256:" + model.path.name[7:]
    assert sorted(each.name.short for each in listed([store])) == sorted(OllamaName.parse(name).short for name in NAMES)


def test_projectors_and_adapters_are_named(store: Path, data: bytes) -> None:
    eyes, lora = b"GGUF eyes", b"GGUF lora"
    add(store, "llava", ("projector", eyes), ("model", data), ("adapter", lora))
    model = found("llava", store)
    assert (model.path, model.projectors, model.adapters) == (blob(store, data), (blob(store, eyes),), (blob(store, lora),))


def test_the_stores_that_are_there_in_order(tmp_path: Path) -> None:
    own, home, system = tmp_path / "own", tmp_path / "home", tmp_path / "system"
    for place in (own, home / ".ollama" / "models", system):
        (place / "manifests").mkdir(parents=True)
    assert stores({"OLLAMA_MODELS": f' "{own}" '}, home, [system, tmp_path / "gone"]) == [own, home / ".ollama" / "models", system]
    assert stores({"OLLAMA_MODELS": "relative"}, None, [system]) == [system]
    assert stores({"OLLAMA_MODELS": "/nul\0"}, None, []) == []


def test_the_first_store_wins(tmp_path: Path, data: bytes) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    add(second, "m", ("model", data))
    assert found("m", first, second).store == second
    add(first, "M", ("model", data))
    assert found("m", first, second).store == first
    assert len(listed([first, second])) == 1


def test_what_is_not_pulled(store: Path, data: bytes) -> None:
    add(store, "m", ("model", data))
    assert str(refused("m:70b", store)) == f"m:70b is not pulled: {store}"
    assert refused("m:70b", store).hint == "try: model pull m:70b"
    assert "there is no Ollama store" in str(refused("m"))


def test_a_manifest_without_its_blob(store: Path, data: bytes) -> None:
    add(store, "m", ("model", data))
    blob(store, data).unlink()
    assert "m:latest has a manifest, but the model of m:latest" in str(refused("m", store))
    assert str(refused("m", store)).endswith("is gone")


@pytest.mark.parametrize(("content", "sentence"), [(b"", "is empty"), (b"GG", "is not a GGUF file"), (b"<html>" * 9, "is not a GGUF file")])
def test_a_blob_that_is_no_model(content: bytes, sentence: str, store: Path, data: bytes) -> None:
    add(store, "m", ("model", data))
    blob(store, data).write_bytes(content)
    assert sentence in str(refused("m", store))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b"[]", "lists no layers"),
        (b'{"layers": {}}', "lists no layers"),
        (b'{"layers": [1]}', "a layer that is none"),
        (b'{"layers": [{}]}', "something else than a sha256 digest"),
        (b'{"layers": []}', "has no weights"),
    ],
)
def test_a_broken_manifest(content: bytes, sentence: str, store: Path, data: bytes) -> None:
    add(store, "m", ("model", data)).write_bytes(content)
    assert sentence in str(refused("m", store))


@pytest.mark.parametrize(
    "digest",
    ["sha256:../../../etc/passwd", "../../x", "sha256:" + "0" * 63, "sha256:" + "0" * 65, "sha512:" + "0" * 64, "sha256:" + "G" * 64, 7],
)
def test_a_digest_is_nothing_but_a_digest(digest: object, store: Path, data: bytes) -> None:
    rewrite(add(store, "m", ("model", data)), digest=digest)
    assert "something else than a sha256 digest" in str(refused("m", store))


def test_a_manifest_of_five_gigabytes_is_not_read(store: Path, data: bytes) -> None:
    os.truncate(add(store, "m", ("model", data)), 5 * 1024**3)
    assert "5368709120 bytes, which no manifest has" in str(refused("m", store))


def test_a_link_never_leads_out_of_the_store(store: Path, data: bytes, tmp_path: Path) -> None:
    manifest = add(store, "m", ("model", data))
    (tmp_path / "outside.gguf").write_bytes(data)
    blob(store, data).unlink()
    blob(store, data).symlink_to(tmp_path / "outside.gguf")
    assert "is a link that leads out of the store" in str(refused("m", store))
    blob(store, data).unlink()
    blob(store, data).symlink_to(blob(store, data).name)
    assert "links" in str(refused("m", store))
    outside = manifest.rename(tmp_path / "manifest")
    manifest.symlink_to(outside)
    assert "is a link that leads out of the store" in str(refused("m", store))


def test_a_store_that_is_itself_a_link_is_fine(store: Path, data: bytes, tmp_path: Path) -> None:
    add(store, "m", ("model", data))
    (tmp_path / "link").symlink_to(store)
    assert found("m", tmp_path / "link").path.read_bytes() == data


def test_what_is_no_file_waits_for_nobody(store: Path, data: bytes) -> None:
    manifest = add(store, "m", ("model", data))
    blob(store, data).unlink()
    os.mkfifo(blob(store, data))
    assert "is empty" in str(refused("m", store))
    blob(store, data).unlink()
    blob(store, data).mkdir()
    assert "is a directory" in str(refused("m", store))
    manifest.unlink()
    os.mkfifo(manifest)
    assert "is not a regular file" in str(refused("m", store))


def test_a_split_model_is_put_in_order_and_linked_under_names_that_llama_cpp_knows(store: Path, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    first = write_parts(tmp_path / "parts")
    parts = [path.read_bytes() for path in sorted(first.parent.iterdir())]
    add(store, "big", *(("model", parts[number]) for number in (2, 0, 1)))
    model = found("big", store)
    assert model.parts == tuple(blob(store, part) for part in parts)
    whole = linked(model.parts, tmp_path / "links")
    assert read_whole(whole).layers == 3
    assert linked(model.parts, tmp_path / "links") == whole


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_part_that_is_missing_is_counted(gone: int, store: Path, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    write_parts(tmp_path / "parts")
    parts = [path.read_bytes() for path in sorted((tmp_path / "parts").iterdir())]
    add(store, "big", *(("model", part) for number, part in enumerate(parts) if number != gone))
    assert str(refused("big", store)) == f"big:latest is split, and part {gone + 1} of 3 is missing"


def test_a_model_without_weights_is_answered_elsewhere(store: Path) -> None:
    add(store, "cloud", ("template", b"x"), ("image.tensor", b"y"))
    assert "has no weights" in str(refused("cloud", store))


@contextlib.contextmanager
def without_rights(path: Path) -> Iterator[None]:
    """Nobody may read the path, and this process is nobody: root may do anything."""
    mode = path.stat().st_mode
    path.chmod(0)
    if os.getuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(os.getuid())
        path.chmod(mode)


@pytest.mark.parametrize("closed", ["models", "models/manifests", "blob", "manifest"])
def test_what_may_not_be_read_is_said_with_the_way_in(closed: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        store = Path(name) / "models"
        manifest = add(store, "m", ("model", data))
        target = {"blob": blob(store, data), "manifest": manifest}.get(closed, Path(name) / closed)
        with without_rights(target):
            assert stores({"OLLAMA_MODELS": str(store)}, None, []) == [store]
            error = refused("m", store)
            assert "this user" in str(error)
            assert "usermod -aG ollama" in (error.hint or "")
            assert f"setfacl -R -m u:{pwd.getpwuid(os.geteuid()).pw_name}:rX {store}" in (error.hint or "")
