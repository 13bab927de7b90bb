from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from synaptic import log
from synaptic.errors import BackendError, EngineError, UsageError
from synaptic.events import Bus
from synaptic.results import Cell, Facts, Leave, Lines, Note, Outcome, Rows, Stream, Watch

pytestmark = pytest.mark.anyio

ROWS = Rows(
    "backends",
    ["10.0.0.1:50052", "10.0.0.2:50052"],
    {"endpoint": str, "state": lambda each: Cell("idle", "good"), "detail": lambda each: "a\ttab and\x1b[2J"},
    summary="2 workers in 0.6 s",
    exit_code=3,
)
FACTS = Facts([("model", "demo"), ("on", Cell("yes", "good"))], {"model": "demo"}, [("workers", ROWS)])


class Answer:
    """Pieces of an answer; waits after `stop` of them until it is cancelled."""

    def __init__(self, *pieces: str, stop: int | None = None, error: EngineError | None = None) -> None:
        self.texts, self.stop, self.error = pieces, stop, error
        self.has_ended = False
        self.reached = asyncio.Event()

    async def pieces(self) -> AsyncIterator[str]:
        try:
            for index, text in enumerate(self.texts):
                if index == self.stop:
                    self.reached.set()
                    await asyncio.Event().wait()
                yield text
        finally:
            self.has_ended = True

    @property
    def stream(self) -> Stream:
        return Stream("→ demo", self.pieces(), lambda: Outcome({"text": "".join(self.texts)}, "3 tokens", self.error))


async def test_a_pipe_gets_one_record_per_line_and_stderr_the_talk(shown) -> None:
    pipe = shown()
    assert await pipe.face.show(ROWS, Bus()) == 3
    assert pipe.out.getvalue() == "10.0.0.1:50052\tidle\ta tab and^[[2J\n10.0.0.2:50052\tidle\ta tab and^[[2J\n"
    assert pipe.err.getvalue() == "2 workers in 0.6 s\n"


async def test_facts_in_a_pipe_are_labels_and_values(shown) -> None:
    pipe = shown()
    assert await pipe.face.show(FACTS, Bus()) == 0
    assert pipe.out.getvalue().splitlines()[:3] == ["model\tdemo", "on\tyes", "workers\t10.0.0.1:50052\tidle\ta tab and^[[2J"]


async def test_a_terminal_gets_a_table_with_a_header(shown) -> None:
    screen = shown(terminal=True)
    await screen.face.show(ROWS, Bus())
    lines = [line.rstrip() for line in screen.out.getvalue().splitlines()]
    assert lines == [
        "endpoint        state  detail",
        "10.0.0.1:50052  idle   a tab and^[[2J",
        "10.0.0.2:50052  idle   a tab and^[[2J",
        "2 workers in 0.6 s",
    ]


async def test_a_narrow_window_gets_records_instead_of_a_table(shown) -> None:
    screen = shown(terminal=True, columns=24)
    await screen.face.show(ROWS, Bus())
    lines = [line.rstrip() for line in screen.out.getvalue().splitlines()]
    assert lines[:3] == ["10.0.0.1:50052", "  state   idle", "  detail  a tab and^[[2J"]


async def test_a_sentence_is_wrapped_before_a_table_is_given_up_and_names_stay_whole(shown) -> None:
    rows = Rows("decisions", ["10.0.0.1:50052"], {"endpoint": str, "note": lambda each: "", "why": lambda each: "one two three " * 6})
    screen = shown(terminal=True, columns=48)
    await screen.face.show(rows, Bus())
    lines = [line.rstrip() for line in screen.out.getvalue().splitlines()]
    assert lines[:2] == ["endpoint        why", "10.0.0.1:50052  one two three one two three one"]
    assert len(lines) == 4, lines


@pytest.mark.parametrize("columns", range(44, 70))
async def test_a_table_loses_no_word_at_any_width(shown, columns: int) -> None:
    hints = {"10.0.0.1:50052": "start it there, or: nodes remove http://10.0.0.1:50052", "b": "one two"}
    rows = Rows("checks", list(hints), {"": lambda each: "✗", "what": str, "fix": lambda each: hints[each]})
    screen = shown(terminal=True, columns=columns)
    await screen.face.show(rows, Bus())
    assert set(" ".join(hints.values()).split()) <= set(screen.out.getvalue().split())
    assert max(map(len, screen.out.getvalue().splitlines())) <= columns


async def test_a_sentence_and_an_error_are_wrapped_between_words_and_a_script_is_not(shown) -> None:
    screen = shown(terminal=True, columns=20)
    await screen.face.show(Note("a sentence of several words"), Bus())
    await screen.face.show(Note("for word in $words; do :; done", is_verbatim=True), Bus())
    assert screen.out.getvalue() == "a sentence of\nseveral words\nfor word in $words; do :; done\n"


async def test_facts_on_a_terminal_stand_beside_their_labels(shown) -> None:
    screen = shown(terminal=True)
    await screen.face.show(FACTS, Bus())
    lines = [line.rstrip() for line in screen.out.getvalue().splitlines()]
    assert lines[:4] == [
        "model    demo",
        "on       yes",
        "workers  endpoint        state  detail",
        "         10.0.0.1:50052  idle   a tab and^[[2J",
    ]


async def test_a_table_too_wide_to_stand_beside_its_label_stands_below_it(shown) -> None:
    screen = shown(terminal=True, columns=42)
    await screen.face.show(FACTS, Bus())
    lines = [line.rstrip() for line in screen.out.getvalue().splitlines()]
    assert lines[:5] == [
        "model  demo",
        "on     yes",
        "workers",
        "  endpoint        state  detail",
        "  10.0.0.1:50052  idle   a tab and^[[2J",
    ]


@pytest.mark.parametrize("terminal", [False, True])
async def test_nothing_foreign_is_markup_or_an_escape_sequence(shown, terminal: bool) -> None:
    foreign = "[/INST] list[str] :smile: \x1b]52;c;aGk=\x07 \x9b2J \u202e 10.0.0.1"
    screen = shown(terminal=terminal, columns=200)
    await screen.face.show(Note(foreign), Bus())
    assert screen.out.getvalue() == "[/INST] list[str] :smile: ^[]52;c;aGk=^G \\x9b2J \\u202e 10.0.0.1\n"


async def test_json_is_one_document_with_the_code_of_the_result(shown) -> None:
    pipe = shown(as_json=True)
    assert await pipe.face.show(ROWS, Bus()) == 3
    assert json.loads(pipe.out.getvalue()) == {"backends": ["10.0.0.1:50052", "10.0.0.2:50052"]}


async def test_json_holds_no_raw_control_character_and_means_the_same(shown) -> None:
    pipe = shown(as_json=True)
    await pipe.face.show(Note("ü\x1b\x9b\u202e\ud800"), Bus())
    assert pipe.out.getvalue().isascii() or not set(pipe.out.getvalue()) & set("\x1b\x9b\u202e")
    assert json.loads(pipe.out.getvalue()) == {"message": "ü\x1b\x9b\u202e\ud800"}


async def test_an_answer_in_a_pipe_is_raw_and_everything_else_is_talk(shown) -> None:
    pipe = shown()
    assert await pipe.face.show(Answer("**bold** \x1b", "[2J", "\x07 end").stream, Bus()) == 0
    assert pipe.out.getvalue() == "**bold** ^[[2J^G end\n"
    assert pipe.err.getvalue() == "→ demo\n3 tokens\n"


async def test_an_incomplete_answer_stays_and_fails(shown) -> None:
    pipe = shown()
    assert await pipe.face.show(Answer("half", error=EngineError("the answer broke off", hint="try: retry")).stream, Bus()) == 4
    assert pipe.out.getvalue() == "half\n"
    assert pipe.err.getvalue().endswith("✗ the answer broke off\n  try: retry\n")


async def test_an_incomplete_answer_as_json_keeps_its_text(shown) -> None:
    pipe = shown(as_json=True)
    assert await pipe.face.show(Answer("half", error=EngineError("broke off")).stream, Bus()) == 4
    assert json.loads(pipe.out.getvalue()) == {"text": "half", "error": {"kind": "engine", "message": "broke off", "hint": None}}


async def test_cancelling_an_answer_keeps_what_was_shown_and_ends_the_stream_now(shown) -> None:
    pipe, answer = shown(), Answer("one ", "two ", "three", stop=2)
    showing = asyncio.create_task(pipe.face.show(answer.stream, Bus()))
    await answer.reached.wait()
    showing.cancel()
    assert await showing == 130
    assert answer.has_ended
    assert pipe.out.getvalue() == "one two \n"
    assert pipe.err.getvalue() == "→ demo\ninterrupted after 2 tokens\n"


async def test_an_error_before_the_first_piece_goes_up(shown) -> None:
    async def pieces() -> AsyncIterator[str]:
        raise EngineError("nothing answers")
        yield ""

    with pytest.raises(EngineError):
        await shown().face.show(Stream("→", pieces(), lambda: Outcome({}, "")), Bus())


async def test_lines_are_shown_as_they_come(shown) -> None:
    async def lines() -> AsyncIterator[str]:
        yield "one"
        yield "two\x1b[2J"

    pipe, document = shown(), shown(as_json=True)
    assert await pipe.face.show(Lines("lines", lines()), Bus()) == 0
    assert pipe.out.getvalue() == "one\ntwo^[[2J\n"
    await document.face.show(Lines("lines", lines()), Bus())
    assert json.loads(document.out.getvalue()) == {"lines": ["one", "two\x1b[2J"]}


async def test_lines_with_a_sum_are_told_live_and_are_one_document(shown) -> None:
    async def lines() -> AsyncIterator[str]:
        yield "found a"

    def summed_up() -> Note:
        return Note("1 found", {"found": ["a"]})

    pipe, document = shown(), shown(as_json=True)
    assert await pipe.face.show(Lines("found", lines(), summed_up), Bus()) == 0
    assert pipe.out.getvalue() == "found a\n1 found\n"
    await document.face.show(Lines("found", lines(), summed_up), Bus())
    assert json.loads(document.out.getvalue()) == {"found": ["a"]}


async def test_watching_where_nothing_can_be_repainted_asks_once(shown) -> None:
    asked: list[int] = []

    async def again() -> Note:
        asked.append(1)
        return Note("now")

    pipe = shown()
    assert await pipe.face.show(Watch(again), Bus()) == 0
    assert (pipe.out.getvalue(), len(asked)) == ("now\n", 1)


async def test_leaving_is_a_wish_of_the_result(shown) -> None:
    pipe = shown()
    await pipe.face.show(Leave(keep=True), Bus())
    assert pipe.face.wishes.leave == Leave(keep=True)


async def test_a_closed_pipe_ends_with_141_and_silence(shown) -> None:
    class Closed(type(shown().out)):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    pipe, answer = shown(), Answer("one", "two")
    pipe.out.__class__ = Closed
    assert await pipe.face.show(answer.stream, Bus()) == 141
    assert answer.has_ended
    assert await pipe.face.show(ROWS, Bus()) == 141


async def test_a_failure_is_two_lines_and_its_last_words(shown) -> None:
    pipe = shown()
    assert pipe.face.fail(BackendError("127.0.1.77:50052 did not answer", hint="try: rpc check", details=("bad\x1b",))) == 3
    assert pipe.err.getvalue() == "✗ 127.0.1.77:50052 did not answer\n  try: rpc check\n  bad^[\n"
    assert pipe.out.getvalue() == ""


async def test_a_failure_as_json_is_a_document_on_stdout(shown) -> None:
    pipe = shown(as_json=True)
    assert pipe.face.fail(UsageError("no such flag", hint="try: help")) == 2
    assert json.loads(pipe.out.getvalue()) == {"error": {"kind": "usage", "message": "no such flag", "hint": "try: help"}}


async def test_only_a_shell_offers_the_line_to_the_model(shown) -> None:
    error = UsageError('no command "me"', prefill="ask help me")
    outside, inside = shown(), shown()
    outside.face.fail(error)
    inside.face.offers = True
    inside.face.fail(error)
    assert (outside.err.getvalue(), outside.face.wishes.prefill) == ('✗ no command "me"\n', "")
    assert inside.err.getvalue() == '✗ no command "me"\n  to send this to the model, press Enter\n'
    assert inside.face.wishes.prefill == "ask help me"


async def test_what_no_command_foresaw_is_one_line_and_a_traceback_only_on_request(shown) -> None:
    plain, debug = shown(), shown(debug=True)
    assert plain.face.crash(ZeroDivisionError("of all things")) == 1
    assert plain.err.getvalue().startswith("✗ something went wrong inside: ZeroDivisionError: of all things\n  the details are in ")
    debug.face.crash(ZeroDivisionError("of all things"))
    assert "ZeroDivisionError: of all things" in debug.err.getvalue().splitlines()[-1]


@pytest.mark.parametrize(("number", "why"), [(errno.ENOSPC, "no space left on device"), (errno.EROFS, "read-only file system")])
async def test_a_disk_that_takes_nothing_is_no_mystery(shown, number: int, why: str) -> None:
    there = shown()
    assert there.face.crash(OSError(number, os.strerror(number), "/home/me/ledger")) == 1
    assert there.err.getvalue() == f"✗ cannot write /home/me/ledger: {why}\n  is the disk full, or the folder not yours? see: doctor\n"


def test_a_log_that_cannot_be_written_leaves_the_terminal_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / log.NAME).symlink_to("/dev/full")
    log.to_file(tmp_path)
    logging.getLogger("synaptic.test").error("what went wrong")
    assert capfd.readouterr() == ("", "")


async def test_an_answer_leads_on_where_it_is_whole(shown) -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "42"

    there = shown(terminal=True)
    await there.face.show(Stream("→ demo", pieces(), lambda: Outcome({}, "1 token", hint="next: ask more\n  or leave")), Bus())
    assert there.out.getvalue().endswith("1 token\n  next: ask more\n  or leave\n")
    broken = shown(terminal=True)
    failed = Outcome({}, "1 token", BackendError("a worker was lost"), hint="next: ask more")
    await broken.face.show(Stream("→ demo", pieces(), lambda: failed), Bus())
    assert "next" not in broken.out.getvalue()
