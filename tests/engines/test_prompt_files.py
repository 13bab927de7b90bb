"""Named prompts as files: what a name and a placeholder are, and that nothing of the user's is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from synaptic.engines.prompts import LONGEST, Prompt, Prompts
from synaptic.errors import SynapticError, UsageError


@pytest.fixture
def prompts(tmp_path: Path) -> Prompts:
    return Prompts(tmp_path / "data" / "prompts")


def prompt(text: str) -> Prompt:
    return Prompt("p", text, Path("p.md"))


@pytest.mark.parametrize(
    ("text", "values", "filled"),
    [
        ("no braces", {}, "no braces"),
        ("{a} and {b_2} and {a}", {"a": "x", "b_2": "y z"}, "x and y z and x"),
        ("{{a}} is not {a}", {"a": "x"}, "{a} is not x"),
        ('{"a": {"b": 1}} {} { a } {1} {a-b} {', {}, '{"a": {"b": 1}} {} { a } {1} {a-b} {'),
        ("{a}", {"a": "{b} {{a}} \\1"}, "{b} {{a}} \\1"),
        ("{{{a}}}", {}, "{{a}}"),
        ("{a}", {"a": ""}, ""),
    ],
)
def test_placeholders_are_filled_and_other_braces_stay(text: str, values: dict[str, str], filled: str) -> None:
    assert sorted(prompt(text).placeholders) == sorted(values)
    assert prompt(text).filled(values) == filled


def test_what_is_missing_or_too_much_is_named() -> None:
    with pytest.raises(UsageError, match="p needs topic, age") as caught:
        prompt("{topic} {lang} {age}").filled({"lang": "en"})
    assert caught.value.hint == "usage: prompts use p topic=… lang=… age=…"
    with pytest.raises(UsageError, match="p has no placeholder topik") as caught:
        prompt("{topic}").filled({"topik": "x"})
    assert caught.value.hint == "did you mean: topic"
    with pytest.raises(UsageError) as caught:
        prompt("plain").filled({"x": "y"})
    assert caught.value.hint == "it has no placeholders"


@pytest.mark.parametrize("text", ["two\n\nlines", "ends with a line\n", "  spaces  ", "ümlaut 漢字", "\r\n kept"])
def test_a_text_comes_back_as_it_was(prompts: Prompts, text: str) -> None:
    assert prompts.save("a", text)
    assert prompts.find("a").text == text
    assert prompts.names() == ["a"]


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "-a", "a b", "a.md", "a\n", "ä", "x" * 65])
def test_a_name_that_could_lead_elsewhere_is_refused(prompts: Prompts, name: str) -> None:
    for act in (lambda: prompts.save(name, "x"), lambda: prompts.find(name), lambda: prompts.remove(name)):
        with pytest.raises(UsageError, match="cannot be the name"):
            act()
    assert not prompts.folder.exists()


def test_a_name_that_is_taken_is_not_replaced_unless_asked(prompts: Prompts) -> None:
    prompts.save("a", "first")
    assert prompts.save("a", "second") is None
    assert prompts.find("a").text == "first"
    assert prompts.save("a", "second", replace=True)
    assert prompts.find("a").text == "second"
    assert (prompts.folder / "a.md.bak").read_text() == "first\n"
    assert sorted(path.name for path in prompts.folder.iterdir()) == ["a.md", "a.md.bak"]


def test_what_is_removed_stays_in_a_backup(prompts: Prompts) -> None:
    prompts.save("a", "text")
    kept = prompts.remove("a")
    assert kept.read_text() == "text\n"
    assert prompts.names() == []
    with pytest.raises(UsageError, match="no prompt is called a"):
        prompts.remove("a")


def test_an_unknown_name_suggests_the_nearest(prompts: Prompts) -> None:
    prompts.save("review", "x")
    with pytest.raises(UsageError) as caught:
        prompts.find("reviw")
    assert caught.value.hint == "did you mean: review"


def test_files_by_hand_are_prompts_and_what_is_none_is_passed_over(prompts: Prompts) -> None:
    prompts.folder.mkdir(parents=True)
    (prompts.folder / "mine.md").write_text("by hand")
    (prompts.folder / "notes.txt").write_text("no prompt")
    (prompts.folder / "a folder.md").mkdir()
    (prompts.folder / "folder.md").mkdir()
    (prompts.folder / "bad.md").write_bytes(b"\xff")
    (prompts.folder / "large.md").write_bytes(b"x" * (LONGEST + 1))
    os.mkfifo(prompts.folder / "pipe.md")
    assert [each.name for each in prompts.all()] == ["mine"]
    for name, why in (("bad", "not UTF-8"), ("large", "larger than 1 MiB"), ("pipe", "no regular file"), ("folder", "is a directory")):
        with pytest.raises(SynapticError, match=why):
            prompts.find(name)


def test_a_folder_that_cannot_be_made_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    prompts = Prompts(tmp_path / "file" / "prompts")
    with pytest.raises(SynapticError, match="cannot be written"):
        prompts.save("a", "x")
    with pytest.raises(SynapticError, match="at most 1 MiB"):
        prompts.save("a", "x" * LONGEST)
