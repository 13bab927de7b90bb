"""Windows of a real browser, for tests that look at the page as a person does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VIEWS = ("cluster", "activity", "nodes", "llama", "logs", "console")
PATIENCE = 40_000  # milliseconds, on a busy machine
ALONE = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]  # it asks nobody but us


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    without = "the page is not looked at"
    playwright = pytest.importorskip("playwright.sync_api", reason=f"playwright is not here: {without} (pip install playwright)")
    if not CHROMIUM:
        pytest.skip(f"no chromium: {without} (apt-get install chromium, or name one in CHROMIUM)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ALONE)
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address in a window of its own, before which `prepare(page)` may act; what goes wrong in the page fails the test."""
    opened: list[Page] = []
    wrong: list[str] = []

    def start(url: str, *, width: int = 1280, prepare: Callable[[Page], object] | None = None, **options: str) -> Page:
        page = chromium.new_page(viewport={"width": width, "height": 900}, **options)
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
        if prepare:
            prepare(page)
        page.goto(url)
        opened.append(page)
        return page

    yield start
    for page in opened:
        page.close()
    assert wrong == []


def is_live(page: Page) -> None:
    page.wait_for_selector("#link[data-state=open]")


def run(page: Page, line: str) -> None:
    """In the console, until it is answered."""
    page.fill("#line", line)
    page.press("#line", "Enter")
    page.wait_for_selector("#run:not([hidden])")
