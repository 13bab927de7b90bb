"""The page's files: all of them are served, and none holds what the browser was told not to run."""

from __future__ import annotations

import re

import pytest

from synaptic import shipped
from synaptic.web import pages

FILES = sorted(path.name for path in shipped.page().iterdir())


def test_every_file_is_served_and_every_served_file_is_there() -> None:
    assert sorted(pages.paths().values()) == FILES
    assert sorted(pages.load()) == sorted(pages.paths())


@pytest.mark.parametrize("name", FILES)
def test_text_is_only_ever_text_and_nothing_comes_from_elsewhere(name: str) -> None:
    text = shipped.page(name).read_text()
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser", "srcdoc"):
        assert forbidden not in text
    assert not re.search(r"\b(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", text)
    if name.endswith(".html"):
        assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:", text)
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_modules_import_only_each_other(name: str) -> None:
    imported = re.findall(r"from \"(.+?)\"", shipped.page(name).read_text())
    assert all(each.startswith("./") and each[2:] in FILES for each in imported)
