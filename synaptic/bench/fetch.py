"""A short reply over HTTP, as it is: without redirects or proxies, bounded in bytes and time."""

from __future__ import annotations

import asyncio


async def fetched(url: str, key: str | None, *, limit: int, within: float) -> bytes:
    """At most `limit` bytes of what comes with status 200 in so many seconds; empty where nothing does."""
    import aiohttp

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with (
            asyncio.timeout(within),
            aiohttp.ClientSession(trust_env=False, headers=headers) as http,
            http.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                return b""
            body = bytearray()
            while len(body) < limit and (piece := await response.content.readany()):
                body += piece
    except (aiohttp.ClientError, OSError, ValueError):  # ValueError: no URL
        return b""
    return bytes(body[:limit])
