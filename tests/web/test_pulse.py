"""Snapshots cost nothing while nobody looks, and the same for many as for one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from synaptic.endpoint import Endpoint
from synaptic.environment import Environment
from synaptic.events import Noticed
from synaptic.session import Session
from synaptic.settings import Settings
from synaptic.web.activity import Activity
from synaptic.web.hub import Feed
from synaptic.web.pulse import EVERY, Pulse

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def beating(folder: Path, feed: Feed) -> AsyncIterator[tuple[Pulse, Session]]:
    environment = Environment(
        {"SYNAPTICLLAMAS_HOME": str(folder), "PATH": "", "OLLAMA_HOST": "127.0.0.1:1"}, sys.stdin, sys.stdout, sys.stderr
    )
    session = Session(environment, Settings.load(folder / "settings.json", {}))
    pulse = Pulse(session, Activity(), feed)
    beat = asyncio.create_task(pulse.run())
    try:
        yield pulse, session
    finally:
        beat.cancel()
        await asyncio.wait([beat])
        await session.close()


async def test_while_nobody_looks_there_are_points_and_nobody_is_asked(tmp_path: Path) -> None:
    feed = Feed(backlog=1, limit=1)
    async with beating(tmp_path, feed) as (pulse, session), asyncio.timeout(30):
        pulse.hear(Noticed(text="something happened"))
        while not json.loads(pulse.text())["history"]:
            await asyncio.sleep(0.01)
        assert {"nodes", "coordinators", "pool"}.isdisjoint(vars(session))
        with feed.viewer() as late:
            pulse.hear(Noticed(text="and again"))
            assert "sample" in json.loads(await late.next())  # the first there was: none was made before


async def test_no_point_is_of_less_than_its_time(tmp_path: Path) -> None:
    """A moment's load is not the machine's: psutil says 100 % of the milliseconds in which we were loaded."""
    began = time.time()
    async with beating(tmp_path, Feed(backlog=1, limit=1)) as (pulse, _), asyncio.timeout(30):
        pulse.hear(Noticed(text="something happened"))
        assert json.loads(pulse.text())["machines"][0]["cpu_percent"] is None
        while not (points := json.loads(pulse.text())["history"]):
            await asyncio.sleep(0.01)
        assert points[0]["at"] - began >= EVERY
        assert points[0]["cpu_percent"] is not None


async def test_workers_that_nobody_asked_yet_are_looked_at_when_somebody_looks(tmp_path: Path) -> None:
    feed = Feed(backlog=0, limit=1)
    async with beating(tmp_path, feed) as (pulse, session), asyncio.timeout(30):
        with feed.viewer() as viewer:
            session.settings.add_backends([Endpoint("127.0.0.1", 1)])
            session.settings.edit(lambda document: document.update(dllama_backends=["127.0.0.1:2"]))
            session.know_backends()
            known: dict[str, str] = {}
            while sorted(known.values()) != ["unreachable", "unreachable"]:
                pulse.hear(Noticed(text="something happened"))
                machines = json.loads(await viewer.next())["machines"]
                known = {machine["kind"]: machine["state"] for machine in machines if machine["kind"] in ("rpc", "dllama")}
            assert {machine["health"] for machine in machines if machine["kind"] == "rpc"} == {"down"}


async def test_all_who_look_are_sent_the_very_same(tmp_path: Path) -> None:
    feed = Feed(backlog=0, limit=1)
    async with beating(tmp_path, feed) as (pulse, _), asyncio.timeout(30):
        with feed.viewer() as one, feed.viewer() as other:
            pulse.hear(Noticed(text="something happened"))
            assert await one.next() is await other.next()
