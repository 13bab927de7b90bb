"""The page in good and in bad days: nothing known yet, many workers, long names, a worker lost."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from staged import Look, Stage, snapshot, split, worker
from windows import is_live

from synaptic.web.activity import Generation, LostOn

if TYPE_CHECKING:
    from playwright.sync_api import Page

LONG = "rack-{}.a-very-long-domain-name.of-a-cluster.example.internal:50052"
EMPTY = snapshot((), ())
BOXES = """[...document.querySelectorAll(".drawing .node:not(.root)")].map((node) =>
    [node.querySelector(".box"), ...node.querySelectorAll("text")]
        .map((each) => each.getBoundingClientRect()).map(({left, right, top, bottom}) => [left, right, top, bottom]))"""


def assert_texts_fit(page: Page) -> None:
    """Each in its box, and none over another."""
    for (left, right, _, _), *texts in page.evaluate(BOXES):
        assert all(left <= start and end <= right for start, end, _, _ in texts)
        assert not any(
            one[0] < other[1] and other[0] < one[1] and one[2] < other[3] - 3 and other[2] < one[3] - 3
            for one, other in itertools.combinations(texts, 2)
        )


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (900, "light"), (1600, "dark")])
def test_forty_workers_with_long_names_fit(served, look: Look, tmp_path: Path, width: int, scheme: str) -> None:
    names = [LONG.format(number) for number in range(40)]
    machines = [worker(name, is_lost=number % 4 == 0) for number, name in enumerate(names)]
    page = look(served().page, width=width, color_scheme=scheme, prepare=Stage(snapshot(machines, [split(names)])))
    is_live(page)
    assert page.locator(".drawing .node:not(.root)").count() == 40
    assert page.locator("#machines .machine.is-bad").count() == 10
    assert "and 7 more are lost" in page.locator("#alerts .alert").inner_text()  # one for all: they do not bury the page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert_texts_fit(page)
    page.screenshot(path=tmp_path / f"forty-{width}-{scheme}.png", full_page=True)


@pytest.mark.parametrize("width", [320, 900, 1600])
@pytest.mark.parametrize("count", [5, 50])
def test_the_longest_addresses_fit_too(served, look: Look, width: int, count: int) -> None:
    names = [f"[2001:db8:85a3:8d3:1319:8a2e:370:{number:x}]:50052" for number in range(0x7340, 0x7340 + count)]
    page = look(served().page, width=width, prepare=Stage(snapshot([worker(name) for name in names], [split(names)])))
    is_live(page)
    assert page.locator(".drawing .node:not(.root)").count() == count
    assert_texts_fit(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [400, 900, 1600])
def test_nothing_moves_when_an_answer_begins(served, look: Look, width: int) -> None:
    names = ["10.0.0.1:50052", "10.0.0.2:50052"]
    machines, splits = [worker(name) for name in names], [dataclasses.replace(split(names), model="llama3.1:70b")]
    writing = Generation(1, "llama3.1:70b", "llama.cpp", "2 workers", "it fits", 90.0, "writing", 1234, 17.5, 300.0)
    idle, busy = (snapshot(machines, splits, running=running) for running in ((), (writing,)))
    stage = Stage(idle | {"model": "llama3.1:70b"})
    page = look(served().page, width=width, prepare=stage)
    is_live(page)
    for view, below in (("cluster", "#machines"), ("activity", "#charts")):
        page.click(f"#tab-{view}")
        stage.show(idle | {"model": "llama3.1:70b"})
        page.wait_for_selector("#headline >> text=idle")
        before = page.locator(below).bounding_box()
        stage.show(busy | {"model": "llama3.1:70b"})
        page.wait_for_selector("#headline >> text=1 answer at 17.5 tok/s")
        after = page.locator(below).bounding_box()
        assert before
        assert after
        assert abs(after["y"] - before["y"]) < 2, view


def test_a_long_name_spreads_no_tile(served, look: Look) -> None:
    page = look(served().page, width=900, prepare=Stage(snapshot([worker("10.0.0.1:50052")], ())))
    is_live(page)
    tops = page.locator(".tile strong").evaluate_all("(all) => all.map((each) => each.getBoundingClientRect().top)")
    assert max(tops) - min(tops) < 2
    assert page.locator("#tiles").bounding_box()["height"] < 170


def test_a_coordinator_that_lost_a_worker_is_not_well(served, look: Look) -> None:
    names = ["10.0.0.1:50052", "10.0.0.2:50052"]
    page = look(served().page, prepare=Stage(snapshot([worker(names[0]), worker(names[1], is_lost=True)], [split(names)])))
    is_live(page)
    assert page.inner_text(".splitting .state") == "✗ 1 worker lost"


def test_a_coordinator_that_failed_is_told_at_a_glance(served, look: Look) -> None:
    failed = dataclasses.replace(split(["10.0.0.1:50052"]), state="failed", cause="a worker was lost", shares=())
    page = look(served().page, prepare=Stage(snapshot([worker("10.0.0.1:50052")], [failed])))
    is_live(page)
    assert page.inner_text(".tile[data-key='coordinators'] .note.bad") == "✗ 1 failed"


def test_a_lost_worker_is_lost_since_then_however_long_ago_it_was_looked_at(served, look: Look) -> None:
    page = look(served().page, prepare=Stage(snapshot([worker("10.0.0.1:50052", is_lost=True)], ())))
    is_live(page)
    assert "lost 30\u00a0s ago · try:" in page.inner_text("[data-endpoint='10.0.0.1:50052']")


def test_nothing_moves_when_the_layers_have_arrived(served, look: Look) -> None:
    names = ["10.0.0.1:50052", "10.0.0.2:50052"]
    there = split(names)
    on_the_way = dataclasses.replace(there, state="starting", port=None, shares=(), links=())
    machines = [worker(name) for name in names]
    stage = Stage(snapshot(machines, [on_the_way]))
    page = look(served().page, prepare=stage)
    is_live(page)
    before = page.locator("#machines").bounding_box()
    assert page.locator(".layer-row [role=img]").get_attribute("aria-label") == "80 layers, on the way"
    stage.show(snapshot(machines, [there]))
    page.wait_for_selector(".layer-run")
    assert page.locator("#machines").bounding_box() == before


def test_nothing_flows_once_the_program_is_gone(served, look: Look) -> None:
    names = ["10.0.0.1:50052"]
    writing = Generation(1, split(names).model, "llama.cpp", "1 worker", "it fits", 90.0, "writing", 12, 7.5, 300.0)
    here, stage = served(), Stage(snapshot([worker(names[0])], [split(names)], running=[writing]))
    page = look(here.page, prepare=stage)
    is_live(page)
    assert page.evaluate("document.getAnimations().length") == 1
    here.interrupt()
    stage.leave()
    page.wait_for_selector("#link[data-state=waiting]")
    assert page.evaluate("document.getAnimations().length") == 0


def test_an_answer_that_goes_on_elsewhere_says_so(served, look: Look) -> None:
    moved = LostOn(95.0, ("10.0.0.2:50052",), "connection reset", 20, "1 worker")
    answer = Generation(1, "demo", "llama.cpp", "1 worker", "loaded there already", 90.0, "waiting", 20, None, 300.0, failovers=(moved,))
    page = look(served().page, prepare=Stage(snapshot([worker("10.0.0.1:50052")], (), running=[answer])))
    is_live(page)
    page.click("#tab-activity")
    said = page.inner_text("#running .answer")
    assert "going on elsewhere" in said
    assert "10.0.0.2:50052 was lost after 20 tokens; went on, on 1 worker" in said
    assert "loaded there already" not in said


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_picture_names_each_worker_its_layers_and_what_passes(served, look: Look, tmp_path: Path, count: int) -> None:
    names = [f"10.0.0.{number}:50052" for number in range(count)]
    page = look(served().page, prepare=Stage(snapshot([worker(name) for name in names], [split(names, layers=count * 4)])))
    is_live(page)
    boxes = page.locator(".drawing .node:not(.root)").all_text_contents()
    assert all(name in box for name, box in zip(names, boxes, strict=True))
    assert [f"layers {number * 4 + 1}–{number * 4 + 4}" in box for number, box in enumerate(boxes)] == [True] * count
    assert all("↑\u00a01.2\u00a0MiB/s ↓\u00a096.5\u00a0KiB/s" in box for box in boxes)
    page.screenshot(path=tmp_path / f"split-{count}.png", full_page=True)


def test_a_model_that_is_cut_by_tensors_has_a_slice_everywhere(served, look: Look) -> None:
    names = ["10.0.0.1:9999", "10.0.0.2:9999", "10.0.0.3:9999"]
    page = look(served().page, prepare=Stage(snapshot([worker(name) for name in names], [split(names, cut="tensor", layers=32)])))
    is_live(page)
    assert "layers 1–32, each cut into 4" in page.inner_text(".layer-row")
    assert page.locator(".layer-run").count() == 4
    assert "a slice of 32 layers" in page.locator(".drawing .node:not(.root)").first.text_content()


def test_where_nothing_is_known_the_page_leads_on_and_runs_nothing_by_itself(served, look: Look, tmp_path: Path) -> None:
    page = look(served().page, prepare=Stage(EMPTY))
    is_live(page)
    page.screenshot(path=tmp_path / "first.png", full_page=True)
    page.click("#first >> text=rpc add")
    assert page.is_visible("#console")
    assert page.input_value("#line") == "rpc add "
    assert page.evaluate("document.activeElement.id") == "line"
    assert page.locator("#transcript .entry").count() == 0


def test_on_a_system_that_does_not_count_it_says_so(served, look: Look) -> None:
    page = look(served().page, prepare=Stage(snapshot([worker("10.0.0.1:50052")], ()) | {"links_are_measured": False}))
    is_live(page)
    assert "is not measured on this system" in page.inner_text("#legend")


def test_what_a_worker_said_is_text(served, look: Look) -> None:
    evil = "<img src=x onerror=document.title='owned'>\x1b[2J\u202e"
    page = look(served().page, prepare=Stage(snapshot([worker(evil, is_lost=True)], [split([evil])])))
    is_live(page)
    assert page.locator("main img").count() == 0
    harmless = evil.replace("\x1b", "^[").replace("\u202e", "\\u202e")
    assert harmless in page.inner_text("#machines")
    assert harmless in page.inner_text("#alerts")  # what follows it is read in its own order
    assert harmless in (page.text_content(".drawing") or "")
