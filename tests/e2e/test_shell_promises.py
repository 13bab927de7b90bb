"""The promises of the shell, typed at a real terminal."""

from __future__ import annotations

import random
import signal
import sys
import termios
from pathlib import Path

import pexpect
import pytest

MEGABYTE = 1_000_000
LITTLE = Path(__file__).with_name("little_shell.py")


def test_ctrl_c_ends_the_answer_and_keeps_what_was_shown(terminal) -> None:
    shell = terminal(EACH="0.1")
    shell.prompts()
    shell.types("one two three four" + " and more" * 100)  # ten seconds and more
    shell.says("→ echo", "one two three four")
    shell.sendintr()
    shell.says("[stream ended]", "interrupted after", "tokens")
    shell.prompts()
    shell.types("rpc list")
    shell.says("a:1", "2 workers")


def test_ctrl_c_at_the_prompt_clears_the_line_and_says_the_way_out_when_pressed_twice(terminal) -> None:
    shell = terminal()
    shell.prompts()
    shell.types("some words", enter=False)
    shell.says("some words")
    shell.sendintr()
    shell.prompts()
    shell.sendintr()
    shell.prompts()
    shell.sendintr()
    shell.says('Ctrl-D or "exit" leaves.')
    shell.prompts()
    shell.types("exit")
    assert shell.ends() == 0


def test_sixty_interrupts_at_random_moments_do_not_end_the_shell(terminal) -> None:
    shell = terminal(EACH="0.01")
    shell.prompts()
    moments = random.Random(7)
    for _ in range(60):
        if moments.random() < 0.5:
            shell.send("a b c d e f g h\r")
        shell.sendintr() if moments.random() < 0.5 else shell.kill(signal.SIGINT)
        if moments.random() < 0.3:
            shell.prompts()
    shell.types("")
    shell.types("little facts")
    shell.says("model  demo")
    shell.prompts()


def test_ctrl_d_leaves_and_ctrl_c_then_keeps_the_coordinator(terminal) -> None:
    shell = terminal()
    shell.prompts()
    shell.types("little start")
    shell.says("done")
    shell.prompts()
    shell.send("\x04")
    shell.says("stopping 1 coordinator… (Ctrl-C to leave it running)")
    shell.sendintr()
    shell.says("[closed keep=True]")
    assert shell.ends() == 0


def test_ctrl_d_with_nothing_running_leaves_at_once(terminal) -> None:
    shell = terminal()
    shell.prompts()
    shell.send("\x04")
    shell.says("[closed keep=False]")
    assert shell.ends() == 0


def test_a_command_that_does_not_parse_is_offered_to_the_model(terminal) -> None:
    shell = terminal()
    shell.prompts()
    shell.types("rpc ad")
    shell.says("✗ unknown command: rpc ad", "did you mean: rpc add", "to send this to the model, press Enter", "ask rpc ad")
    shell.types("")
    shell.says("→ echo", "rpc ad")
    shell.prompts()


def test_a_command_that_is_unfinished_is_given_back_to_be_finished(terminal) -> None:
    shell = terminal()
    shell.prompts()
    shell.types("rpc add")
    shell.says("✗ rpc add needs <endpoint>…", "usage: rpc add", "synaptic> ", "rpc add")
    shell.types("127.0.0.1")
    shell.says("1 added")
    shell.prompts()


def test_ctrl_c_takes_back_what_was_pasted_line_by_line(terminal) -> None:
    shell = terminal(EACH="0.05")
    shell.prompts()
    shell.send("a long question" + " of many words" * 70 + "\r" + "rpc list\r" * 50)  # a terminal without bracketed paste
    shell.says("→ echo", "a long question")
    shell.sendintr()
    shell.says("interrupted after")
    shell.types("rpc add x")
    shell.says("1 added")
    assert "2 workers" not in shell.before, "none of the fifty ran"


def test_the_shell_survives_what_no_command_foresaw(terminal, own_home: Path) -> None:
    shell = terminal()
    shell.prompts()
    shell.types("little crash")
    shell.says("something went wrong inside: ZeroDivisionError: of all things", "the details are in", "synaptic.log")
    shell.prompts()
    assert "ZeroDivisionError" in (own_home / "state" / "logs" / "synaptic.log").read_text()
    assert "Traceback" not in str(shell.before)


def test_work_that_takes_long_shows_a_line_that_is_gone_afterwards(terminal) -> None:
    shell = terminal(WORK="4")
    shell.prompts()
    shell.types("little work")
    shell.expect(r"demo loading · 31 of 80 layers · \d s")
    shell.says("done")
    shell.prompts()


def test_a_notice_appears_above_the_line_that_is_being_typed(terminal, own_home: Path) -> None:
    shell = terminal()
    shell.prompts()
    shell.types("little notice")
    shell.says("done")
    shell.prompts()
    shell.types("half a line", enter=False)
    shell.says("half a line")
    (own_home / "now").touch()
    shell.says("found 127.0.1.10:50052")
    shell.prompts()
    shell.says("half a line")
    shell.types(" and more")
    shell.says("→ echo", "half a line and more")


def test_a_question_can_be_answered_and_refused(terminal) -> None:
    shell = terminal()
    shell.prompts()
    for answer, outcome in (("y\r", "removed"), ("\r", "nothing changed"), ("\x03", "nothing changed")):
        shell.types("rpc remove --all")
        shell.says("forget 2 workers? [y/N]")
        shell.send(answer)
        shell.says(outcome)
        shell.prompts()


def test_what_is_typed_ahead_waits_for_its_turn(terminal) -> None:
    shell = terminal(EACH="0.2")
    shell.prompts()
    shell.types("one two three four five six")
    shell.says("→ echo", "one two three")
    shell.types("rpc list")
    shell.says("27 characters", "2 workers")
    shell.prompts()


def test_pasted_lines_are_one_prompt_and_wait_for_enter(terminal) -> None:
    shell = terminal()
    shell.prompts()
    shell.send("\x1b[200~rpc list\nlittle crash\n\x1b[201~")
    shell.says("rpc list", "little crash")
    shell.types("the end")
    shell.says('✗ rpc list takes no "little"', "to send this to the model, press Enter")
    shell.prompts()


def test_enter_sends_alt_enter_and_ctrl_j_and_open_quotes_begin_a_line(terminal) -> None:
    shell = terminal("--plain")
    shell.prompts()
    shell.types("alpha\x1b\rbeta\ngamma")
    shell.says("→ echo", "alpha\r\nbeta\r\ngamma", "16 characters")
    shell.prompts()
    shell.types('"""rpc list')
    shell.types("second")
    shell.types('"""')
    shell.says("→ echo", "rpc list\r\nsecond", "15 characters")


def test_a_megabyte_can_be_pasted(terminal) -> None:
    shell = terminal("--plain")
    shell.timeout = 120  # seconds: it is much for a busy machine
    shell.prompts()
    shell.send("\x1b[200~" + ("word " * 16 + "\n") * (MEGABYTE // 81) + "end\x1b[201~")
    shell.says("end")
    shell.types("")
    shell.says("characters")
    shell.prompts()


@pytest.mark.parametrize("moment", ["prompt", "answer", "menu"])
def test_sigterm_restores_the_terminal_and_closes_the_session(terminal, moment: str) -> None:
    shell = terminal(EACH="0.2")
    before = termios.tcgetattr(shell.child_fd)
    shell.prompts()
    assert termios.tcgetattr(shell.child_fd) != before
    if moment == "answer":
        shell.types("a b c d e f g h i j k l m n o p")
        shell.says("→ echo", "a b c d")
    elif moment == "menu":
        shell.types("rpc ", enter=False)
        shell.says("remove")
    shell.kill(signal.SIGTERM)
    shell.says("[closed keep=False]")
    shell.expect(pexpect.EOF)
    assert termios.tcgetattr(shell.child_fd) == before
    assert shell.ends() == 143


def test_watching_ends_with_q(terminal) -> None:
    shell = terminal()
    shell.prompts()
    shell.types("rpc list --watch")
    shell.says("a:1", "q leaves", "q leaves")
    shell.send("q")
    shell.prompts()


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {"PYTHONIOENCODING": "ascii"}, {"LANG": "C"}])
def test_poor_terminals_work_too(terminal, variables: dict[str, str]) -> None:
    shell = terminal(**variables)
    shell.prompts()
    shell.types("rpc list")
    shell.says("a:1", "2 workers")
    shell.prompts()
    shell.types("héllo ✓ world")
    shell.says("world", "13 characters")
    shell.prompts()
    shell.send("\x04")
    assert shell.ends() == 0


def test_a_window_of_twenty_columns_works(terminal) -> None:
    shell = terminal(size=(10, 20))
    shell.prompts()
    shell.types("rpc list")
    shell.says("a:1", "idle", "b:2")
    shell.prompts()


def test_two_shells_share_a_history_and_secrets_are_not_in_it(terminal, own_home: Path) -> None:
    first, second = terminal(), terminal()
    for shell, line in ((first, "from the first"), (second, "from the second"), (first, "config set api_key abc")):
        shell.prompts()
        shell.types(line)
        shell.says("→ echo")
    text = (own_home / "state" / "history").read_text()
    assert "+from the first\n" in text
    assert "+from the second\n" in text
    assert "abc" not in text
    assert (own_home / "state" / "history").stat().st_mode & 0o777 == 0o600
    third = terminal()
    third.prompts()
    third.types("from the f\x1b[A")
    third.says("→ echo", "from the first", "14 characters")


def test_ctrl_z_suspends_and_fg_brings_the_line_back(terminal) -> None:
    shell = terminal("--norc", "--noprofile", "-i", command="bash", PS1="bash$ ")
    shell.says("bash$ ")
    shell.types(f"{sys.executable} {LITTLE}")
    shell.prompts()
    shell.types("half", enter=False)
    shell.says("half")
    shell.send("\x1a")
    shell.says("Stopped", "bash$ ")
    shell.types("fg")
    shell.says("half")
    shell.types(" a line")
    shell.says("→ echo", "half a line", "11 characters")
    shell.prompts()
