"""Completion, highlighting, keys and the toolbar: what happens while a line is typed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.input.base import PipeInput
from prompt_toolkit.output import DummyOutput
from prompt_toolkit.shortcuts import PromptSession

from synaptic.commands.grammar import AnyNumber, Choice, Complete, Text
from synaptic.commands.registry import Registry
from synaptic.results import Note
from synaptic.session import Snapshot
from synaptic.shell.completer import CommandCompleter
from synaptic.shell.keys import bindings
from synaptic.shell.lexer import CommandLexer
from synaptic.shell.toolbar import ATTENTION, banner, toolbar

pytestmark = pytest.mark.anyio
registry = Registry()


def endpoints(session: object) -> list[tuple[str, str]]:
    return [("127.0.0.1:1", "idle"), ("127.0.0.1:2", "lost\x1b[2J"), ("bad\x1b[2J", "")]


def models(session: object) -> list[tuple[str, str]]:
    return [("demo", "1.6 MiB"), ("big", "40 GiB")]


def broken(session: object) -> list[tuple[str, str]]:
    raise ZeroDivisionError


@registry.command("rpc add", group="workers")
async def add(session: object, *endpoint: str, timeout: float = 1.0) -> Note:
    """Use workers."""
    return Note("")


@registry.command("rpc remove", group="workers")
async def remove(session: object, *endpoint: Annotated[str, AnyNumber(), Complete(endpoints)], all: bool = False) -> Note:
    """Forget workers."""
    return Note("")


@registry.command("model use", group="models")
async def use(session: object, name: Annotated[str, Complete(models)], *, split: Annotated[str, Choice("layer", "row")] = "layer") -> Note:
    """Choose a model."""
    return Note("")


@registry.command("ask", group="answers")
async def ask(session: object, text: Annotated[str, Text()], *, model: Annotated[str | None, Complete(models)] = None) -> Note:
    """Ask."""
    return Note("")


@registry.command("help", group="shell", aliases=("?",))
async def help_(
    session: object, *command: Annotated[str, Complete(lambda session: [("rpc add", "Use workers."), ("ask", "Ask.")])]
) -> Note:
    """Help."""
    return Note("")


@registry.command("broken", group="shell")
async def broken_(session: object, name: Annotated[str, Complete(broken)]) -> Note:
    """Broken."""
    return Note("")


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("r", ["rpc"]),
        ("/r", ["/rpc"]),
        ("rpc ", ["rpc add", "rpc remove"]),
        ("rpc re", ["rpc remove"]),
        ("rpc remove ", ["rpc remove 127.0.0.1:1", "rpc remove 127.0.0.1:2"]),
        ("rpc remove 127.0.0.1:1 ", ["rpc remove 127.0.0.1:1 127.0.0.1:2"]),
        ("rpc remove --", ["rpc remove --all"]),
        ("model use ", ["model use demo", "model use big"]),
        ("model use demo ", []),
        ("model use --split ", ["model use --split layer", "model use --split row"]),
        ("model use --split row D", ["model use --split row demo"]),
        ("ask --model b", ["ask --model big"]),
        ("ask what is ", []),
        ("why is the sky blue? using d", ["why is the sky blue? using demo"]),
        ("ask why using ", ["ask why using demo", "ask why using big"]),
        ("help rpc a", ["help rpc add"]),
        ("? a", ["? ask"]),
        ("why rpc ", []),
        ("broken ", []),
        ("", []),
        ("rpc add\n", []),
        ("x" * 100_000, []),
    ],
)
def test_completion(typed: str, completed: list[str]) -> None:
    found = CommandCompleter(None, registry).get_completions(Document(typed), CompleteEvent(text_inserted=True))
    assert [typed[: len(typed) + each.start_position] + each.text for each in found] == completed


def test_an_explicit_tab_on_an_empty_line_lists_what_it_may_begin_with() -> None:
    found = list(CommandCompleter(None, registry).get_completions(Document(""), CompleteEvent(completion_requested=True)))
    assert {each.text: each.display_meta_text for each in found}["?"] == "Help."
    assert len(found) == 6


def test_meanings_are_shown_and_foreign_ones_made_visible() -> None:
    found = CommandCompleter(None, registry).get_completions(Document("rpc remove "), CompleteEvent())
    assert [each.display_meta_text for each in found] == ["idle", "lost^[[2J"]


@pytest.mark.parametrize(
    ("line", "word"),
    [("rpc", "rpc"), ("  rpc add x", "rpc"), ("/rpc add", "/rpc"), ("rp", ""), ("rpcx add", ""), ("", ""), ("why rpc", "")],
)
def test_the_first_word_turns_bold_as_soon_as_it_is_a_command(line: str, word: str) -> None:
    fragments = CommandLexer(registry).lex_document(Document(f"{line}\nrpc"))
    assert "".join(text for _, text, *_ in fragments(0)) == line
    assert "".join(text for style, text, *_ in fragments(0) if style) == word
    assert fragments(1) == [("", "rpc")]


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield keys


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("hello\r", "hello"),
        ("one\x1b\rtwo\nthree\r", "one\ntwo\nthree"),
        ('"""one\rtwo\r"""\r', '"""one\ntwo\n"""'),
        ("\x1b[200~rpc add\rrpc add\n\x1b[201~\r", "rpc add\nrpc add\n"),
        ("\x1b[A\x1b[A\r", "an older line"),
        ("the\x1b[A\r", "the newest line"),
    ],
)
async def test_keys(keyboard: PipeInput, keys: str, line: str) -> None:
    editor: PromptSession[str] = PromptSession(multiline=True, key_bindings=bindings(), completer=CommandCompleter(None, registry))
    for text in ("an older line", "the newest line"):
        editor.history.append_string(text)
    keyboard.send_text(keys)
    assert await editor.prompt_async() == line


def snapshot(**changes: object) -> Snapshot:
    return Snapshot(**({"distributed": True, "known": 3, "ready": 2, "lost": 1, "model": "demo"} | changes))


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (
            snapshot(coordinator="llama.cpp :18080", coordinator_state="ready", tokens_per_second=14.23),
            " distributed on │ 2/3 workers, 1 lost │ demo → llama.cpp :18080 ready │ 14.2 tok/s",
        ),
        (snapshot(distributed=False, known=1, ready=1, lost=0), " distributed off │ 1/1 worker │ demo"),
        (
            snapshot(lost=0, coordinator="llama.cpp :18080", coordinator_state="ready", coordinator_model="grown"),
            " distributed on │ 2/3 workers │ demo │ grown → llama.cpp :18080 ready",
        ),
        (
            snapshot(lost=0, model="/m/grown.gguf", coordinator="builtin", coordinator_state="ready", coordinator_model="grown"),
            " distributed on │ 2/3 workers │ grown → builtin ready",
        ),
        (
            snapshot(lost=0, coordinator="llama.cpp", coordinator_state="stopped", coordinator_model="grown"),
            " distributed on │ 2/3 workers │ demo",
        ),
        (snapshot(known=0, ready=0, lost=0, model="/a/long/way/my model.gguf"), " distributed on │ no workers │ my model.gguf"),
        (snapshot(known=0, ready=0, lost=0, model="a\x1b[2J"), " distributed on │ no workers │ a^[[2J"),
    ],
)
def test_the_toolbar_is_the_state(now: Snapshot, text: str) -> None:
    assert "".join(part for _, part, *_ in toolbar(now)) == text


def test_only_lost_workers_ask_for_attention() -> None:
    assert [text for style, text, *_ in toolbar(snapshot()) if style == ATTENTION] == ["2/3 workers, 1 lost"]
    assert {style for style, *_ in toolbar(snapshot(lost=0))} == {""}


def test_the_toolbar_can_be_written_in_ascii() -> None:
    assert "".join(text for _, text, *_ in toolbar(snapshot(), "ascii")).isascii()


def test_the_banner() -> None:
    assert banner(snapshot(known=0)).endswith(" · no workers yet · try: demo, or: rpc discover")
    assert banner(snapshot()).endswith(" · 2 of 3 workers ready · distributed on · type help, or just ask")
    assert banner(snapshot(known=2)).endswith(" · 2 workers ready · distributed on · type help, or just ask")
