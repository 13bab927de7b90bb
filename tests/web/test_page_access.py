"""The page for those who do not see it, do not see colours, use no mouse, or want nothing to move."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from staged import MODEL, Look, Stage, snapshot, split, worker
from windows import VIEWS, is_live, run

from synaptic.web.activity import Generation

NAMES = ["10.0.0.1:50052", "10.0.0.2:50052"]
WRITING = Generation(1, MODEL, "llama.cpp", "2 workers", "it fits", 90.0, "writing", 12, 7.5, 300.0)
FINE = snapshot([worker(name) for name in NAMES], [split(NAMES)], running=[WRITING])
SAD = snapshot([worker(NAMES[0]), worker(NAMES[1], is_lost=True)], [split(NAMES)], running=[WRITING])
LEVELS = "[...document.querySelectorAll('h1, h2, h3, h4')].filter((each) => each.checkVisibility()).map((each) => Number(each.tagName[1]))"
FOCUS = """(({id, className, tagName}) =>
    [id || className || tagName, parseFloat(getComputedStyle(document.activeElement).outlineWidth)])(document.activeElement)"""


@pytest.mark.skipif(
    not os.environ.get("AXE_CORE"), reason="AXE_CORE names no axe.min.js (npm pack axe-core): axe does not look at the page"
)
@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1280, "light")])
def test_axe_finds_nothing(served, look: Look, width: int, scheme: str) -> None:
    page = look(served().page, width=width, color_scheme=scheme, prepare=Stage(SAD))
    is_live(page)
    page.evaluate(Path(os.environ["AXE_CORE"]).read_text())
    for name in VIEWS:
        page.click(f"#tab-{name}")
        if name == "console":
            run(page, "status")
        found = page.evaluate("axe.run().then(({violations}) => violations.map(({id, nodes}) => [id, nodes.map(({target}) => target)]))")
        assert found == [], name


def test_headings_skip_no_level(served, look: Look) -> None:
    page = look(served().page, prepare=Stage(SAD))
    is_live(page)
    for name in VIEWS:
        page.click(f"#tab-{name}")
        levels = page.evaluate(LEVELS)
        assert levels[:2] == [1, 2], name
        assert all(later <= before + 1 for before, later in itertools.pairwise(levels)), (name, levels)


def test_views_and_fields_have_roles_and_names(served, look: Look) -> None:
    page = look(served().page, prepare=Stage(SAD))
    is_live(page)
    assert page.get_by_role("navigation", name="views").get_by_role("tab").all_inner_texts() == [
        "1Cluster",
        "2Activity",
        "3Ollama nodes",
        "4llama.cpp backend",
        "5Logs",
        "6Console",
    ]
    assert page.get_by_role("tab", name="Cluster", exact=True, selected=True).count() == 1  # its key is no part of its name
    for name, label in (("logs", "filter"), ("logs", "least level"), ("console", "synaptic>")):
        page.click(f"#tab-{name}")
        assert page.locator(f"#{name}").get_by_label(label).count() == 1
    page.click("#tab-cluster")
    assert page.get_by_role("img", name="10.0.0.2:50052 lost").count() == 1
    assert page.get_by_role("tabpanel").count() == 1
    glance = page.get_by_role("list", name="at a glance").get_by_role("listitem").all_inner_texts()
    assert glance[0] == "workers ready\n1 of 2\n✗ 1 lost"
    assert page.get_by_role("article", name="10.0.0.2:50052").count() == 1
    assert page.get_by_role("button", name="auto: light or dark").count() == 1


def test_what_changes_state_is_said_and_what_streams_is_not(served, look: Look) -> None:
    stage = Stage(FINE)
    page = look(served().page, prepare=stage)
    is_live(page)
    page.wait_for_selector("#said:text-is('connected, live')", state="attached")
    stage.show(FINE | {"answers": {"running": [], "recent": []}})  # an answer has ended
    stage.show(SAD)
    page.wait_for_selector("#said:text-is('10.0.0.2:50052: lost')", state="attached")
    live = "document.querySelectorAll('[aria-live]:not([aria-live=off]), [role=status], [role=alert], [role=log]:not([aria-live=off])')"
    assert page.evaluate(f"[...{live}].map((each) => each.id)") == ["said"]


def test_a_lost_worker_is_told_without_colour(served, look: Look) -> None:
    page = look(served().page, prepare=Stage(SAD))
    is_live(page)
    assert "✗ lost" in page.inner_text(f"[data-endpoint='{NAMES[1]}']")
    assert "no route to host" in page.inner_text(f"[data-endpoint='{NAMES[1]}']")
    assert "✗ lost" in (page.text_content(".drawing") or "")
    assert page.locator(".wire.bad").evaluate("(wire) => getComputedStyle(wire).strokeDasharray") != "none"


@pytest.mark.parametrize(("wish", "moves"), [("reduce", False), ("no-preference", True)])
def test_nothing_moves_for_those_who_want_it_so(served, look: Look, wish: str, moves: bool) -> None:
    page = look(served().page, prepare=Stage(FINE), reduced_motion=wish)
    is_live(page)
    names = page.locator(".writing .wire").evaluate_all("(wires) => wires.map((wire) => getComputedStyle(wire).animationName)")
    assert [name != "none" for name in names] == [moves, moves]


def test_the_open_view_is_seen_in_the_colours_of_a_person(served, look: Look) -> None:
    page = look(served().page, forced_colors="active", prepare=Stage(FINE))
    is_live(page)
    lines = page.get_by_role("tab").evaluate_all("(tabs) => tabs.map((tab) => getComputedStyle(tab).borderBottomColor)")
    assert lines[0] not in lines[1:]


def test_who_reads_large_letters_in_the_browser_reads_them_here(served, look: Look) -> None:
    page = look(served().page, width=400, prepare=Stage(SAD))
    is_live(page)
    before = page.locator("h3").first.bounding_box()
    page.context.new_cdp_session(page).send("Page.setFontSizes", {"fontSizes": {"standard": 32}})
    pytest.importorskip("playwright.sync_api").expect(page.locator("html")).to_have_css("font-size", "30px")
    after = page.locator("h3").first.bounding_box()
    assert before
    assert after
    assert after["height"] > before["height"]
    for name in VIEWS:
        page.click(f"#tab-{name}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, name


def test_the_focus_is_seen_wherever_the_tab_key_leads(served, look: Look) -> None:
    page = look(served().page, prepare=Stage(SAD))
    is_live(page)
    reached = set()
    for _ in range(8):
        page.keyboard.press("Tab")
        tag, width = page.evaluate(FOCUS)
        if tag != "BODY":
            assert width >= 2, tag
            reached.add(tag)
    assert {"theme", "help", "tab-cluster", "command"} <= reached
    page.focus("#tab-cluster")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.id") == "tab-console"
    for key, name in (("Home", "cluster"), ("End", "console"), ("ArrowRight", "cluster")):
        page.keyboard.press(key)
        assert page.evaluate("[document.activeElement.id, document.body.dataset.tab]") == [f"tab-{name}", name]
