"""Completion from the registry and the live session. Never blocks, never raises."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from synaptic.commands import grammar
from synaptic.commands.grammar import Command, Param
from synaptic.commands.registry import Registry
from synaptic.terminal import one_line

if TYPE_CHECKING:
    from synaptic.session import Session

LONGEST = 500  # characters: a longer line is no command
_logger = logging.getLogger(__name__)


class CommandCompleter(Completer):
    def __init__(self, session: Session, registry: Registry) -> None:
        self._session = session
        self._registry = registry

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor.lstrip()
        if len(text) > LONGEST or "\n" in text or not (text or complete_event.completion_requested):
            return
        words = text.split()
        current = "" if not text or text[-1].isspace() else words.pop()
        try:
            for typed, (word, meaning) in self._candidates(words, current):
                if word.casefold().startswith(typed.casefold()) and one_line(word) == word:
                    yield Completion(word, -len(typed), display_meta=one_line(meaning, 80))
        except Exception:  # a menu that cannot be filled must not stop the typing
            _logger.exception("no completions for %r", text)

    def _candidates(self, words: list[str], current: str) -> Iterator[tuple[str, grammar.Completion]]:
        """Words that may stand here, each with the part of it that is typed already."""
        if not words:
            yield from ((current.removeprefix("/"), each) for each in self._registry.first_words().items())
            return
        if words[-1] == "using" and (ask := self._registry.named("ask")) and not self._registry.below(words[0]):
            yield from ((current, each) for each in self._values(ask.flags.get("--model")))
            return
        first = words[0].removeprefix("/")
        if len(words) == 1:
            yield from ((current, (verb.name.split()[1], verb.summary)) for verb in self._registry.below(first))
        for size in (2, 1):
            if len(words) >= size and (command := self._registry.named(" ".join([first, *words[1:size]]))):
                yield from self._arguments(command, words[size:], current)
                return

    def _arguments(self, command: Command, words: list[str], current: str) -> Iterator[tuple[str, grammar.Completion]]:
        waiting = command.flags.get(words[-1]) if words else None
        if waiting and not waiting.is_switch:
            yield from ((current, each) for each in self._values(waiting))
        elif current.startswith("-"):
            yield from ((current, (name, flag.meaning or flag.form)) for name, flag in command.flags.items() if name not in words)
        elif param := _param_at(command, words):
            values = self._values(param)
            takes_phrases = any(" " in value for value, _ in values)  # `help rpc add`
            typed = " ".join([*words, current]) if takes_phrases else current
            yield from ((typed, each) for each in values if each[0] not in words)

    def _values(self, param: Param | None) -> Sequence[grammar.Completion]:
        if param is None:
            return []
        return param.source(self._session) if param.source else [(choice, "") for choice in param.choices]


def _param_at(command: Command, words: list[str]) -> Param | None:
    """The argument that the next word is, after `words`."""
    place = 0
    for index, word in enumerate(words):
        before = command.flags.get(words[index - 1]) if index else None
        place += not (word.startswith("-") or (before and not before.is_switch))
    if not command.arguments or command.takes_text:
        return None
    last = command.arguments[-1]
    return command.arguments[place] if place < len(command.arguments) else last if last.is_many else None
