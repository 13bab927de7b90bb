"""How a session ends: everything that was opened, in order, once, whatever fails on the way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from synaptic.environment import Environment
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio


class Room:
    """Stands where a service would, and writes down how it is ended."""

    def __init__(self, name: str, said: list[str], *, breaks: bool = False) -> None:
        self._name = name
        self._said = said
        self._breaks = breaks

    async def stop(self, *_: object) -> None:
        self._said.append(f"{self._name} stopped")
        if self._breaks:
            raise OSError("no")

    async def close(self) -> None:
        self._said.append(f"{self._name} closed")
        if self._breaks:
            raise OSError("no")

    def let_go(self) -> None:
        self._said.append(f"{self._name} let go")

    def ending_with_us(self) -> list[str]:
        return []


@pytest.fixture
def said() -> list[str]:
    return []


def session(home: Path, said: list[str], *, breaks: bool = False) -> Session:
    environment = Environment({"SYNAPTICLLAMAS_HOME": str(home), "PATH": ""}, sys.stdin, sys.stdout, sys.stderr)
    made = Session(environment, Settings.load(home / "settings.json", {}))
    for name in ("workers", "coordinators", "presence", "rounds"):
        setattr(made, name, Room(name, said, breaks=breaks and name == "coordinators"))
    return made


ENDED = ["rounds stopped", "presence closed", "coordinators closed", "workers stopped", "workers let go"]


async def test_what_was_opened_is_ended_in_order_and_once(tmp_path: Path, said: list[str]) -> None:
    made = session(tmp_path, said)
    await made.close()
    await made.close()
    assert said == ENDED


async def test_what_shall_be_kept_is_let_go(tmp_path: Path, said: list[str]) -> None:
    await session(tmp_path, said).close(keep=True)
    assert said == ["rounds stopped", "presence closed", "coordinators let go", "workers let go"]


async def test_a_step_that_fails_does_not_leave_the_others_out(tmp_path: Path, said: list[str]) -> None:
    with pytest.raises(OSError, match="^no$"):
        await session(tmp_path, said, breaks=True).close()
    assert said == ENDED


async def test_what_was_never_opened_stays_shut(tmp_path: Path) -> None:
    environment = Environment({"SYNAPTICLLAMAS_HOME": str(tmp_path), "PATH": ""}, sys.stdin, sys.stdout, sys.stderr)
    made = Session(environment, Settings.load(tmp_path / "settings.json", {}))
    await made.close()
    assert {"workers", "coordinators", "presence", "rounds"}.isdisjoint(vars(made))
