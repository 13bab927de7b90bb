"""Viewers that harm nobody: not by sleeping, not by shouting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from synaptic.web.hub import Feed
from synaptic.web.listen import Listening, listen
from synaptic.web.sockets import Sockets

pytestmark = pytest.mark.anyio
MESSAGE = "x" * 1_000_000
ASLEEP = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@contextlib.asynccontextmanager
async def telling(feed: Feed, *, slow: float = 10.0) -> AsyncIterator[Listening]:
    sockets, app = Sockets(slow), web.Application()

    async def serve(request: web.Request) -> web.StreamResponse:
        return await sockets.serve(request, feed)

    app.router.add_get("/", serve)
    here = await listen(app, "127.0.0.1", 0)
    yield here
    await sockets.close()
    await here.close()


async def reached(viewers: int, feed: Feed) -> None:
    async with asyncio.timeout(30):
        while feed.viewers != viewers:
            await asyncio.sleep(0.01)


async def test_one_that_does_not_read_is_cut_off_and_the_others_see_everything() -> None:
    feed = Feed(limit=50)
    async with telling(feed, slow=0.3) as here, aiohttp.ClientSession() as http, http.ws_connect(here.url, max_msg_size=0) as awake:
        asleep, writer = await asyncio.open_connection("127.0.0.1", here.port, limit=1024)
        writer.write(ASLEEP)
        await asleep.readuntil(b"\r\n\r\n")
        await reached(2, feed)
        for _ in range(40):  # far more than the kernel takes in for one that does not read
            feed.publish(MESSAGE)
        assert [len(await awake.receive_str()) for _ in range(40)] == [len(MESSAGE)] * 40
        await reached(1, feed)
        writer.close()


async def test_one_that_says_too_much_is_not_heard() -> None:
    feed = Feed()
    async with telling(feed) as here, aiohttp.ClientSession() as http, http.ws_connect(here.url) as loud:
        await loud.send_str("hello")
        await loud.send_str("x" * 10_000)
        assert (await loud.receive()).type is aiohttp.WSMsgType.CLOSE
        assert loud.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
        await reached(0, feed)


async def test_the_next_port_is_taken_and_given_back() -> None:
    async with telling(Feed()) as first:
        second = await listen(web.Application(), "127.0.0.1", first.port)
        assert second.port > first.port
        await second.close()
        again = await listen(web.Application(), "127.0.0.1", second.port, tries=1)
        assert again.port == second.port
        await again.close()
