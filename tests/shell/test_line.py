from __future__ import annotations

import dataclasses
from typing import Annotated

import pytest

from synaptic.commands.grammar import AnyNumber, Text
from synaptic.commands.quotes import is_unfinished
from synaptic.commands.registry import Registry
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, UsageError
from synaptic.events import BackendChecked, Bus, Noticed
from synaptic.results import Note
from synaptic.services import cannot_ask
from synaptic.shell.line import read, run_line
from synaptic.shell.notices import Notices

pytestmark = pytest.mark.anyio
registry = Registry()
WORKER = Endpoint("127.0.0.1", 50052)


@dataclasses.dataclass
class Little:
    bus: Bus


@registry.command("ask", group="answers")
async def ask(session: object, text: Annotated[str, Text()], *, fresh: bool = False) -> Note:
    """Ask."""
    return Note(text)


@registry.command("rpc add", group="workers")
async def add(session: object, *endpoint: str) -> Note:
    """Use workers."""
    if "bad" in endpoint:
        raise BackendError("bad did not answer")
    if "crash" in endpoint:
        raise ZeroDivisionError
    return Note(" ".join(endpoint))


@registry.command("rpc forget", group="workers")
async def forget(session: object) -> Note:
    """Forget workers."""
    return Note("forgotten" if await cannot_ask("forget them?") else "kept")


@registry.command("help", group="shell")
async def help_(session: object, *command: Annotated[str, AnyNumber()]) -> Note:
    """Help."""
    return Note(f"help for {' '.join(command)}")


@pytest.mark.parametrize(
    ("line", "name", "positional"),
    [
        ("rpc add a 'b c'", "rpc add", ("a", "b c")),
        ("/rpc add a", "rpc add", ("a",)),
        ("why  is\nthe 'sky blue", "ask", ("why  is\nthe 'sky blue",)),
        ("--fresh is a flag of what?", "ask", ("--fresh is a flag of what?",)),
        ("ask --fresh rpc  add", "ask", ("rpc  add",)),
        ('"""rpc add\nx"""', "ask", ("rpc add\nx",)),
        ("/etc/hosts is what?", "ask", ("/etc/hosts is what?",)),
        ("rpc add --help", "help", ("rpc", "add")),
        ("rpc --help", "help", ("rpc",)),
        ("ask --help", "help", ("ask",)),
        ("ask what is --help", "ask", ("what is --help",)),
        ("caf\udcc3\udca9", "ask", ("café",)),
    ],
)
def test_a_line_is_a_command_iff_its_first_word_is_one(line: str, name: str, positional: tuple[str, ...]) -> None:
    call = read(registry, line)
    assert (call.command.name, call.positional) == (name, positional)


def test_a_prompt_from_stdin_is_refused_where_stdin_is_the_shell() -> None:
    with pytest.raises(UsageError, match="here stdin is the shell"):
        read(registry, "ask -")


@pytest.mark.parametrize(
    ("line", "code", "out"),
    [
        ("rpc add a", 0, "a\n"),
        ("rpc add a --json", 0, '{"message": "a"}\n'),
        ("rpc forget", 2, ""),
        ("rpc forget --yes", 0, "forgotten\n"),
        ("rpc forget --yes --json", 0, '{"message": "forgotten"}\n'),
        ("rpc forget --json --yes", 0, '{"message": "forgotten"}\n'),
        ("what is --yes", 0, "what is --yes\n"),
        ("what is --json", 0, "what is --json\n"),
        ("ask what is --json", 0, "what is --json\n"),
        ("   ", 0, ""),
        ("rpc ad", 2, ""),
        ("rpc add bad", 3, ""),
        ("rpc add crash", 1, ""),
        ("rpc add bad --json", 3, '{"error": {"kind": "backend", "message": "bad did not answer", "hint": null}}\n'),
    ],
)
async def test_a_line_has_an_exit_code_and_never_raises(shown, line: str, code: int, out: str) -> None:
    pipe = shown()
    assert await run_line(Little(Bus()), registry, pipe.face, line) == code
    assert pipe.out.getvalue() == out
    assert ("✗" in pipe.err.getvalue()) == (code > 0 and "--json" not in line)


@pytest.mark.parametrize(
    ("text", "unfinished"), [('"""a', True), ('"""a"""', False), ('  """\n', True), ('a"""', False), ('""""""', False)]
)
def test_three_quotes_are_open_until_they_are_closed(text: str, unfinished: bool) -> None:
    assert is_unfinished(text) == unfinished


def test_notices_wait_until_they_disturb_nothing(shown) -> None:
    bus, pipe = Bus(), shown()
    with Notices(bus, pipe.face) as notices:
        bus.publish(Noticed(text="found it\x1b"))
        assert pipe.err.getvalue() == ""
        notices.is_open = True
        bus.publish(Noticed(text="and another"))
        assert pipe.err.getvalue() == "found it^[\nand another\n"


def test_a_worker_that_worked_and_is_gone_is_news_and_said_once(shown) -> None:
    bus, pipe = Bus(), shown()
    with Notices(bus, pipe.face):
        for state in ("unreachable", "idle", "in-use", "unreachable", "unreachable"):
            bus.publish(BackendChecked(endpoint=WORKER, kind="rpc", state=state, detail="refused"))
    assert pipe.err.getvalue() == "worker 127.0.0.1:50052 is lost: refused   try: rpc check\n"


def test_a_worker_that_our_coordinator_holds_and_that_does_not_answer_is_news_and_so_is_its_return(shown) -> None:
    bus, pipe = Bus(), shown()
    with Notices(bus, pipe.face) as notices:

        def told(state: str, health: str) -> str:
            bus.publish(BackendChecked(endpoint=WORKER, kind="rpc", state=state, health=health, detail="in use by demo, but it is dark"))
            notices.flush()
            text = pipe.err.getvalue()
            pipe.err.truncate(0)
            pipe.err.seek(0)
            return text

        assert told("in-use", "ready") == ""
        for _ in range(2):
            assert told("in-use", "lost") == "worker 127.0.0.1:50052 is lost: in use by demo, but it is dark   try: coordinator list\n"
            assert told("in-use", "lost") == ""
            assert told("in-use", "ready") == "worker 127.0.0.1:50052 is back\n"
            assert told("in-use", "ready") == ""
        told("in-use", "lost")
        assert told("unreachable", "lost") == ""  # its coordinator ended: known already
        assert told("idle", "ready") == "worker 127.0.0.1:50052 is back\n"
