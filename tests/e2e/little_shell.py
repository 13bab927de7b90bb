"""
The real shell around a session that needs no engine: `ask` echoes its prompt, word by word.

    little_shell.py [--json] [--plain]      SYNAPTICLLAMAS_HOME is its home; `EACH` the seconds between two words
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from synaptic import log
from synaptic.commands import shell  # noqa: F401 - help and exit
from synaptic.commands.grammar import AnyNumber, Choice, Complete, Text
from synaptic.commands.registry import registry
from synaptic.environment import Environment
from synaptic.errors import EngineError
from synaptic.events import Noticed
from synaptic.results import Cell, Facts, Lines, Note, Outcome, Rows, Stream, Watch
from synaptic.session import Session, Snapshot
from synaptic.settings import Settings
from synaptic.shell import repl
from synaptic.shell.face import Face

EACH = float(os.environ.get("EACH", "0"))


class LittleSession(Session):
    """Two workers, one of them lost, and a coordinator as soon as one was asked for."""

    up: list[str] = []
    noticing: asyncio.Task[None]

    @property
    def running(self) -> list[str]:
        return self.up

    def snapshot(self) -> Snapshot:
        coordinator, state = ("llama.cpp :18080", "ready") if self.up else (None, None)
        return Snapshot(True, 3, 2, 1, "demo", coordinator, state, tokens_per_second=14.2)

    async def close(self, *, keep: bool = False) -> None:
        self.environment.stderr.write(f"[closed keep={keep}]\n")
        self.environment.stderr.flush()


@registry.command("ask", group="answers")
async def ask(session: Session, text: Annotated[str, Text()], *, model: str | None = None) -> Stream:
    """Echo."""

    async def pieces() -> AsyncIterator[str]:
        try:
            for word in text.split(" "):
                yield word + " "
                await asyncio.sleep(EACH)
        finally:
            session.environment.stderr.write("[stream ended]")

    return Stream("→ echo", pieces(), lambda: Outcome({"text": text, "complete": True}, f"{len(text)} characters"))


@registry.command("rpc add", group="workers")
async def add(session: Session, *endpoint: str, timeout: float = 1.0) -> Note:
    """Use workers."""
    return Note(f"{len(endpoint)} added")


@registry.command("rpc remove", group="workers")
async def remove(
    session: Session, *endpoint: Annotated[str, AnyNumber(), Complete(lambda session: [("127.0.0.1:50052", "idle")])], all: bool = False
) -> Note:
    """Forget workers."""
    return Note("removed" if await session.confirm("forget 2 workers?") else "nothing changed")


@registry.command("rpc list", group="workers")
async def list_(session: Session, *, watch: bool = False) -> Rows[str] | Watch:
    """Show workers."""
    rows = Rows("backends", ["a:1", "b:2"], {"endpoint": str, "state": lambda each: Cell("idle", "good")}, summary="2 workers")

    async def again() -> Rows[str]:
        return rows

    return Watch(again, 0.2) if watch else rows


@registry.command("little", group="look")
async def little(
    session: Session, what: Annotated[str, Choice("work", "crash", "fail", "notice", "start", "lines", "facts")]
) -> Note | Lines | Facts:
    """Do one of the things a test wants to see."""
    match what:
        case "work":
            with session.bus.work("demo loading") as work:
                work.update(done=31, total=80, unit="layers")
                await asyncio.sleep(float(os.environ.get("WORK", "30")))
        case "crash":
            raise ZeroDivisionError("of all things")
        case "fail":
            raise EngineError("nothing answers", hint="try: coordinator start", details=("last\x1b[2Jword",))
        case "notice":
            LittleSession.noticing = asyncio.create_task(_notice(session))
        case "start":
            LittleSession.up = ["demo"]
        case "lines":
            return Lines("lines", _lines())
        case "facts":
            return Facts([("model", "demo")], {"model": "demo"})
    return Note("done")


async def _notice(session: Session) -> None:
    """As soon as a test says so."""
    while not Path(os.environ["HOME"], "now").exists():
        await asyncio.sleep(0.02)
    session.bus.publish(Noticed(text="found 127.0.1.10:50052"))


async def _lines() -> AsyncIterator[str]:
    for number in range(100_000):
        yield f"line {number}"


async def live() -> int:
    environment = Environment.of_this_process()
    log.to_file(environment.state_dir / "logs" if environment.state_dir else None)
    session = LittleSession(environment, Settings.load(environment.settings_file, environment.variables))
    face = Face(environment, as_json="--json" in sys.argv, plain="--plain" in sys.argv)
    if environment.is_interactive:
        return await repl.run(session, registry, face)
    return await repl.run_script(session, registry, face, environment.stdin)


raise SystemExit(asyncio.run(live()))
