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


def test_every_text_can_be_read_on_its_ground_by_day_and_by_night() -> None:
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", shipped.page("style.css").read_text())
    colours = {name: (by_day, by_night) for name, by_day, by_night in found}
    texts = ("ink", "dim", "good", "attention", "bad", "accent")
    pairs = [(text, ground) for text in texts for ground in ("bg", "card", "raised")]
    pairs += [("on-accent", "accent"), ("on-banner", "banner"), *(("on-look", f"look-{number}") for number in range(4))]
    for text, ground in pairs:
        for one, other in zip(colours[text], colours[ground], strict=True):
            assert contrast(one, other) >= 4.5, (text, ground, one, other)


def test_no_colour_is_set_beside_those() -> None:
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b", shipped.page("parts.css").read_text())


def contrast(one: str, other: str) -> float:
    """As WCAG 2 counts it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_modules_import_only_each_other(name: str) -> None:
    imported = re.findall(r"from \"(.+?)\"", shipped.page(name).read_text())
    assert all(each.startswith("./") and each[2:] in FILES for each in imported)
