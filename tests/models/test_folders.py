"""A walk through folders ends, whatever they link to."""

from __future__ import annotations

from pathlib import Path

from synaptic.models.folders import DEEPEST, MOST_FILES, model_files


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_nearest_first_and_only_gguf(tmp_path: Path) -> None:
    deep = put(tmp_path / "a" / "b.GGUF")
    near = put(tmp_path / "z.gguf")
    put(tmp_path / "notes.txt")
    put(tmp_path / ".hidden" / "c.gguf")
    put(tmp_path / "._z.gguf")
    assert model_files([tmp_path]) == [near, deep]


def test_four_levels_deep_and_no_deeper(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*"1234")
    assert DEEPEST == 4
    reached = put(folder / "in.gguf")
    put(folder / "5" / "out.gguf")
    assert model_files([tmp_path]) == [reached]


def test_links_are_followed_once(tmp_path: Path) -> None:
    model = put(tmp_path / "models" / "m.gguf")
    (tmp_path / "models" / "again").symlink_to("..")
    (tmp_path / "models" / "self").symlink_to("self")
    (tmp_path / "other").symlink_to("models")
    assert model_files([tmp_path / "models", tmp_path / "other"]) == [model]
    assert model_files([tmp_path / "other"]) == [tmp_path / "other" / "m.gguf"]


def test_a_file_behind_a_link_counts(tmp_path: Path) -> None:
    put(tmp_path / "blobs" / "sha256-1")
    (tmp_path / "m.gguf").symlink_to("blobs/sha256-1")
    assert model_files([tmp_path]) == [tmp_path / "m.gguf"]


def test_no_more_than_2000(tmp_path: Path) -> None:
    for number in range(MOST_FILES + 5):
        (tmp_path / f"{number}.gguf").touch()
    assert len(model_files([tmp_path])) == MOST_FILES


def test_a_folder_that_is_none_is_passed_over(tmp_path: Path) -> None:
    model = put(tmp_path / "m.gguf")
    assert model_files([tmp_path / "gone", model, tmp_path]) == [model]
