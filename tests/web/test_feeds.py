"""One stream, many viewers: nobody waits for anybody."""

from __future__ import annotations

import asyncio

import pytest

from synaptic.web.hub import Feed
from synaptic.web.message import lost

pytestmark = pytest.mark.anyio


async def test_a_slow_viewer_loses_its_oldest_and_is_told_how_many() -> None:
    feed = Feed(limit=3, told=lambda count: f"{count} lost")
    with feed.viewer() as slow, feed.viewer() as quick:
        heard = []
        for number in range(8):
            feed.publish(str(number))
            heard.append(await quick.next())
        assert heard == [str(number) for number in range(8)]
        assert [await slow.next() for _ in range(4)] == ["5 lost", "5", "6", "7"]
        assert (slow.lost, quick.lost, feed.lost) == (5, 0, 5)


async def test_a_latecomer_has_the_backlog_and_those_who_left_cost_nothing() -> None:
    feed = Feed(backlog=2)
    for text in "abc":
        feed.publish(text)
    with feed.viewer() as late:
        assert [await late.next(), await late.next()] == ["b", "c"]
        waiting = asyncio.create_task(late.next())
        await asyncio.sleep(0)
        feed.publish("d")
        assert await waiting == "d"
    assert feed.viewers == 0


async def test_of_snapshots_only_the_newest_is_kept() -> None:
    feed = Feed(backlog=0, limit=1)
    with feed.viewer() as viewer:
        feed.publish("old")
        feed.publish("new")
        assert await viewer.next() == "new"
    with feed.viewer() as late:
        feed.publish("newer")
        assert await late.next() == "newer"


def test_a_loss_is_a_message_like_any_other() -> None:
    assert '"message": "1 message was lost here: this viewer was too slow", "level": "warning", "details": {"lost": 1}' in lost(1)
