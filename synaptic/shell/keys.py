"""What keys do at the prompt, where it differs from any prompt_toolkit program."""

from __future__ import annotations

from prompt_toolkit.application import get_app
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, completion_is_selected, has_completions, has_focus
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from synaptic.commands.quotes import is_unfinished


def bindings() -> KeyBindings:
    keys = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)

    @keys.add("enter", filter=typing & completion_is_selected)
    def accept(event: KeyPressEvent) -> None:
        """Enter on a chosen completion takes it and does not run the line."""
        event.current_buffer.complete_state = None

    @keys.add("enter", filter=typing & _is_open)
    @keys.add("escape", "enter", filter=typing)
    @keys.add("c-j", filter=typing)
    def insert_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("enter", filter=typing & ~completion_is_selected & ~_is_open)
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("up", filter=typing & has_completions & ~completion_is_selected)
    def back(event: KeyPressEvent) -> None:
        """A menu that opened by itself does not stand between the user and the history."""
        event.current_buffer.cancel_completion()
        event.current_buffer.auto_up()

    return keys


@Condition
def _is_open() -> bool:
    return is_unfinished(get_app().current_buffer.text)
