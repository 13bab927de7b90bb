"""The page's streams of lines when hundreds come each second: followed, paused, filtered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from staged import Look
from windows import is_live

if TYPE_CHECKING:
    from playwright.sync_api import Page, WebSocketRoute

MOST = 2000  # lines that the page holds
LINE = "2026-11-21 20:56:11,123 {level} synaptic.events: line {number}: \x1b[2J<b>bold</b> \u202e and words for another row"
LEFT = "(({scrollHeight, scrollTop, clientHeight}) => scrollHeight - scrollTop - clientHeight)(document.querySelector('#log-feed .lines'))"


class Flood:
    """Stands in for the websocket of the log."""

    def __init__(self) -> None:
        self.sockets: list[WebSocketRoute] = []
        self.sent = 0

    def __call__(self, page: Page) -> None:
        page.route_web_socket("**/ws/logs", self._open)

    def _open(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)

    def send(self, count: int) -> None:
        for _ in range(count):
            self.sent += 1
            self.sockets[-1].send(LINE.format(level="WARNING" if self.sent % 100 == 0 else "INFO", number=self.sent))


@pytest.fixture(params=[400, 1600])
def flooded(served, look: Look, request: pytest.FixtureRequest) -> tuple[Page, Flood]:
    flood = Flood()
    page = look(served().page, width=request.param, prepare=flood)
    is_live(page)
    page.keyboard.press("5")
    page.wait_for_selector("#log-feed .lines:not(.stale)")
    while not flood.sockets:  # its own limit ends a test that waits in vain
        page.wait_for_timeout(20)
    flood.send(MOST + 500)
    shows(page, flood.sent)
    return page, flood


def shows(page: Page, number: int) -> None:
    """As its last line."""
    page.wait_for_selector(f"#log-feed .row:last-child .message:text('line {number}:')")


def test_the_end_is_followed_whatever_grows_above_it(flooded: tuple[Page, Flood]) -> None:
    page, flood = flooded
    assert page.locator("#log-feed .row").count() == MOST
    page.evaluate("document.querySelector('#banner').hidden = false; document.querySelector('#banner').textContent = 'x '.repeat(2000)")
    flood.send(50)
    shows(page, flood.sent)
    page.wait_for_function(f"() => {LEFT} < 4")
    assert page.get_by_label("follow").locator("visible=true").is_checked()
    page.evaluate("document.querySelector('#log-feed .lines').scrollTop -= 300")  # a person scrolls up
    page.wait_for_function("() => !document.querySelector('#log-feed .bar label:last-of-type input').checked")


def test_what_is_paused_stays_where_it_is_and_can_be_filtered(flooded: tuple[Page, Flood]) -> None:
    page, flood = flooded
    page.keyboard.press("p")
    assert page.evaluate(LEFT) < 4
    flood.send(MOST + 10)
    page.wait_for_selector(f"text=paused, {MOST + 10} new")
    shows(page, flood.sent - MOST - 10)  # not one has gone
    page.keyboard.press("/")
    page.keyboard.type("warning")
    page.wait_for_function("() => document.querySelectorAll('#log-feed .row').length === 20")
    page.fill("#log-feed input[type=search]", "")
    page.focus("#log-feed .lines")
    page.keyboard.press("p")
    shows(page, flood.sent)
    assert page.locator("#log-feed .row").count() == MOST


def test_what_would_turn_a_line_around_or_clear_a_screen_is_shown_as_signs(flooded: tuple[Page, Flood]) -> None:
    page, _ = flooded
    assert "^[[2J<b>bold</b> \\u202e and" in page.inner_text("#log-feed .row:last-child .message")
