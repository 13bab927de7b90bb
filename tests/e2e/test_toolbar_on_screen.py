"""What only a whole terminal shows: the toolbar, the menu, a suggestion in grey."""

from __future__ import annotations


def test_the_toolbar_shows_the_state_and_follows_it(window) -> None:
    shell = window()
    shell.shows("synaptic>", " distributed on │ 2/3 workers, 1 lost │ demo │ 14.2 tok/s")
    shell.types("little start", "Enter")
    shell.shows("done", "demo → llama.cpp :18080 ready")


def test_the_menu_opens_by_itself_and_enter_takes_what_is_chosen(window) -> None:
    shell = window()
    shell.shows("synaptic>")
    shell.types("rpc ", "r")
    shell.shows("remove", "Forget workers.")
    shell.types("Down", "Enter")
    shell.types("1")
    screen = shell.shows("synaptic> rpc remove1")
    assert "forget 2 workers?" not in screen


def test_a_line_of_the_history_is_suggested_in_grey(window) -> None:
    shell = window()
    shell.shows("synaptic>")
    shell.types("what is a worker", "Enter")
    shell.shows("16 characters")
    shell.types("C-l")
    shell.shows("synaptic>", without="16 characters")
    shell.types("what")
    shell.shows("synaptic> what is a worker")
    shell.types("Right", "Enter")
    shell.shows("→ echo", "16 characters")


def test_an_answer_loses_no_word_while_the_window_is_resized(window) -> None:
    shell = window(EACH="0.01", COLUMNS="", LINES="")
    shell.shows("synaptic>")
    words = [f"word{number:03}" for number in range(400)]
    shell.types(" ".join(words), "Enter")
    for number, columns in ((100, 50), (150, 77), (200, 31), (250, 120), (300, 60)):
        shell.shows(f"word{number}", below="→ echo")
        shell.becomes(columns)
    answer = shell.shows("characters", below="→ echo")
    assert [word for word in words if word not in answer] == []
    assert answer.count("word") < len(words) * 1.2, "a line is said twice where it had half scrolled away, the rest once"


def test_a_narrow_window_is_readable(window) -> None:
    shell = window(columns=20)
    shell.shows("synaptic>", " distributed on")
    shell.types("rpc list", "Enter")
    shell.shows("a:1       idle", "2 workers")
