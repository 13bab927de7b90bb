"""The page in a real browser, as a person uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cabled import Cabled
from windows import VIEWS, is_live, run

from synaptic.web import kernel_tcp


@pytest.fixture
def slow_worker(rpc_worker) -> Iterator[Callable[[], Cabled]]:
    """A real worker behind a long cable, so that an answer takes long enough to be watched."""
    made: list[Cabled] = []

    def start() -> Cabled:
        made.append(Cabled(rpc_worker()))
        assert made[-1].cable.stdin
        made[-1].cable.stdin.write("delay 30\n")
        made[-1].cable.stdin.flush()
        return made[-1]

    yield start
    for worker in made:
        worker.close()


@pytest.mark.parametrize("width", [400, 900, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_fits_and_is_pictured(served, look, tmp_path: Path, width: int, scheme: str):
    here = served()
    page = look(here.page, width=width, color_scheme=scheme)
    is_live(page)
    for name in VIEWS:
        page.click(f"#tab-{name}")
        assert page.is_visible(f"#{name}")
        assert [each for each in VIEWS if page.is_visible(f"#{each}")] == [name]
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)


def test_an_answer_is_watched_a_worker_dies_and_it_goes_on(served, look, slow_worker, llama_server, tmp_path: Path):
    here, workers = served(), [slow_worker() for _ in range(3)]
    here.run("config set failover auto")
    here.run(f"rpc add {' '.join(str(worker.endpoint) for worker in workers)}")
    here.run("distributed on")
    page = look(here.page)
    is_live(page)
    page.keyboard.press("6")
    page.fill("#line", "ask --model demo What is distributed inference?")
    page.press("#line", "Enter")
    page.wait_for_selector(".answer-text")  # it streams
    page.click("#tab-activity")
    page.wait_for_selector("#running .answer:has-text('writing')")
    page.screenshot(path=tmp_path / "answering.png", full_page=True)
    page.click("#tab-cluster")
    page.wait_for_selector(".drawing.writing")
    page.screenshot(path=tmp_path / "split.png", full_page=True)
    card = page.inner_text(f"[data-endpoint='{workers[1].endpoint}']")
    assert "● in use" in card
    assert "weights" in card
    assert "layer" in card
    if kernel_tcp.connections() is not None:
        page.wait_for_selector(f"[data-endpoint='{workers[1].endpoint}'] >> text=/↑.+\\/s ↓.+\\/s/")  # what passes is counted
    workers[0].worker.process.kill()
    gone = page.wait_for_selector(f"[data-endpoint='{workers[0].endpoint}'].is-bad")
    assert "✗" in gone.inner_text()  # a sign, not only a colour
    page.screenshot(path=tmp_path / "lost.png", full_page=True)
    page.click("#tab-activity")
    done = page.wait_for_selector("#recent tr:has-text('✓ done')")
    assert "1 failover" in done.inner_text()
    page.click("#tab-console")
    page.wait_for_selector("#run:not([hidden])")
    assert "they produce every token of the answer" in page.inner_text(".answer-text")
    page.screenshot(path=tmp_path / "went-on.png", full_page=True)
    page.reload()
    page.click("#tab-activity")
    assert page.wait_for_selector("#charts [data-key='tokens/s'] .curve")  # the last minutes are still there
    assert page.locator("#charts [data-key='time to first token'] .dot").count() == 1
    assert page.locator("#recent tr:has-text('✓ done')").count() == 1


def test_the_console_runs_a_command_asks_before_harm_and_shows_text_as_text(served, look):
    here = served()
    page = look(here.page)
    is_live(page)
    page.keyboard.press("6")
    page.keyboard.press("/")
    for line in (
        "rpc add 127.0.9.1:1 --timeout 0.2",
        "config set system_prompt <img src=x onerror=document.title=1>",
        "config show",
        "rpc remove --all",
    ):
        run(page, line)
    assert page.locator("#transcript img").count() == 0
    assert "<img src=x onerror=document.title=1>" in page.inner_text("#transcript table")
    page.click("text=yes, do it")
    page.wait_for_selector("text=Removed 1 RPC backend(s)")
    page.fill("#line", "exit")
    page.press("#line", "Enter")
    page.wait_for_selector("text=cannot be left from here")


def test_the_console_remembers_its_lines_and_offers_to_send_what_is_no_command(served, look):
    here = served()
    page = look(here.page)
    is_live(page)
    page.click("#tab-console")
    run(page, "status")
    run(page, "rpc ad")
    assert page.input_value("#line") == "ask rpc ad"
    page.reload()
    is_live(page)
    for expected in ("rpc ad", "status", "status"):
        page.press("#line", "ArrowUp")
        assert page.input_value("#line") == expected
    page.press("#line", "ArrowDown")
    page.press("#line", "ArrowDown")
    assert page.input_value("#line") == ""
    page.wait_for_function("() => [...document.querySelectorAll('#commands option')].some((each) => each.value === 'rpc discover')")


def test_logs_are_filtered_paused_and_followed(served, look):
    here = served()
    page = look(here.page)
    is_live(page)
    page.keyboard.press("5")
    page.wait_for_selector("#log-feed .lines:not(.stale)")
    here.run("config set seed 1")
    page.wait_for_selector("#log-feed >> text=setting seed changed")
    page.keyboard.press("/")
    page.keyboard.type("temperature")
    assert page.locator("#log-feed .row").count() == 0
    here.run("config set temperature 0.5")
    page.wait_for_selector("#log-feed >> text=setting temperature changed")
    page.focus("#log-feed .lines")  # esc would clear the filter
    page.keyboard.press("p")
    here.run("config set temperature 0.6")
    page.wait_for_selector("text=/paused, [1-9]\\d* new/")
    assert page.locator("#log-feed .row").count() == 1
    page.keyboard.press("p")
    page.wait_for_function("() => document.querySelectorAll('#log-feed .row').length === 2")


def test_keys_and_colours_without_a_mouse(served, look):
    page = look(served().page)
    is_live(page)
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.keyboard.press("Escape")
    assert not page.is_visible("#keys")
    page.keyboard.press("/")  # nothing is filtered here
    assert page.evaluate("document.activeElement.id") == "line"
    page.keyboard.press("Escape")
    for number, name in enumerate(VIEWS, start=1):
        page.keyboard.press(str(number))
        assert page.is_visible(f"#{name}")
    page.keyboard.press("t")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    is_live(page)  # the token is still known in this tab
    assert page.is_visible("#console")  # and so is the view
    assert "token" not in page.url


def test_it_says_when_it_is_disconnected_and_comes_back(served, look, tmp_path: Path):
    first = served()
    page = look(first.page, width=400)
    is_live(page)
    height = page.locator("header.top").bounding_box()["height"]
    first.interrupt()
    page.wait_for_selector("#banner >> text=Disconnected")
    assert page.title() == "✗ disconnected · synaptic"
    assert page.locator("header.top").bounding_box()["height"] == height
    page.screenshot(path=tmp_path / "disconnected.png")
    served(port=first.port)
    is_live(page)
    assert not page.is_visible("#banner")


def test_a_server_that_never_answered_has_no_version(served, look):
    page = look(served(OLLAMA_HOST="127.0.0.1:1").page)
    page.click("#tab-nodes")
    page.wait_for_selector("#servers .is-attention >> text=it has never answered")
    assert page.inner_text("#servers .is-attention p >> nth=0") == "Ollama"


def test_a_stranger_on_the_port_gets_no_token(served, look, own_home):
    first = served()
    page = look(first.page)
    is_live(page)
    first.interrupt()
    next(own_home.rglob("dashboard.token")).unlink()
    other = served(port=first.port)  # another program, as far as the page can tell
    page.wait_for_selector("#unlock")
    page.fill("#token", other.page)
    page.press("#token", "Enter")
    is_live(page)


def test_a_page_without_a_token_says_where_it_is_found(served, look):
    page = look(served().url)
    page.wait_for_selector("#unlock >> text=dashboard url")
