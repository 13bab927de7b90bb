"""Every command, once. Feeds the shell, the one-shot CLI, completion, `help`, the README table and the dashboard."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from synaptic.commands.grammar import Command, Handler, params_of
from synaptic.commands.overtaken import instead_of
from synaptic.commands.parse import Call, call_line, call_words
from synaptic.errors import UsageError
from synaptic.terminal import one_line

H = TypeVar("H", bound=Handler)
LONGEST_WORD = 20  # characters: a longer one is no misspelled command
LIKE = 0.82  # of 1: how alike a word is to the command that was meant: `stauts`, `models`


class Registry:
    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}
        self._aliases: dict[str, str] = {}

    def __iter__(self) -> Iterator[Command]:
        return (command for command in self._commands.values() if not command.is_hidden)

    def command(self, name: str, *, group: str, aliases: Sequence[str] = (), hidden: bool = False) -> Callable[[H], H]:
        def register(handler: H) -> H:
            summary, _, details = (inspect.getdoc(handler) or "").partition("\n\n")
            self._commands[name] = Command(name, handler, params_of(handler, name), " ".join(summary.split()), details, group, hidden)
            self._aliases.update((alias, name) for alias in aliases)
            return handler

        return register

    def named(self, name: str) -> Command | None:
        return self._commands.get(self._aliases.get(name, name))

    def below(self, noun: str) -> list[Command]:
        """The verbs of a noun: `rpc` → rpc add, rpc list, …"""
        return [command for command in self if command.noun == noun and " " in command.name]

    def first_words(self) -> dict[str, str]:
        """What a line may begin with, and what it is about."""
        words = {command.noun: self.about(command.noun) for command in self}
        return words | {alias: self._commands[name].summary for alias, name in self._aliases.items() if " " not in alias}

    def about(self, noun: str) -> str:
        """What a first word does; its verbs, where it cannot stand alone."""
        alone = self.named(noun)
        return alone.summary if alone else ", ".join(command.name.split()[1] for command in self.below(noun))

    def aliases_of(self, name: str) -> list[str]:
        return [alias for alias, target in self._aliases.items() if target == name]

    def is_command(self, line: str) -> bool:
        """Nothing is guessed: a line is a command iff its first word (after an optional `/`) is one."""
        words = line.split(maxsplit=1)
        return bool(words) and any(name.split()[0] == words[0].removeprefix("/") for name in (*self._commands, *self._aliases))

    def parse_line(self, line: str) -> Call:
        """A line as typed in the shell. Raises UsageError, whose prefill offers the line to the model, or to be completed."""
        line = line.strip().removeprefix("/")
        try:
            command, size = self._find(line.split())
            pieces = line.split(maxsplit=size)
            return call_line(command, pieces[size] if len(pieces) > size else "")
        except UsageError as error:
            raise UsageError(str(error), hint=error.hint, prefill=f"{line} " if error.lacks else f"ask {line}") from error

    def parse_words(self, words: Sequence[str]) -> Call:
        """Words as argv gave them, quoting already undone."""
        command, size = self._find(words)
        return call_words(command, words[size:])

    def meant(self, line: str) -> str | None:
        """The command line that this one misses by a letter or two: a word alone, or one before a verb."""
        word, *rest = line.casefold().split(maxsplit=2)[:2] or [""]
        if len(word) > LONGEST_WORD:
            return None
        nouns = [noun for noun in self.first_words() if not rest or self.named(f"{noun} {rest[0]}")]
        swapped = [noun for noun in nouns if sorted(noun) == sorted(word)]
        close = swapped or difflib.get_close_matches(word, nouns, n=1, cutoff=LIKE)
        return " ".join([close[0], *line.split(maxsplit=1)[1:]]) if close else None

    def find(self, words: Sequence[str]) -> Command | None:
        try:
            return self._find(words)[0]
        except UsageError:
            return None

    def _find(self, words: Sequence[str]) -> tuple[Command, int]:
        for size in (2, 1):
            if len(words) >= size and (command := self.named(" ".join(words[:size]))):
                return command, size
        raise self._unknown(words)

    def _unknown(self, words: Sequence[str]) -> UsageError:
        verbs = [command.name.split()[1] for command in self.below(words[0])] if words else []
        if verbs and len(words) < 2:
            return UsageError(f"{words[0]} needs a verb: {', '.join(verbs)}", hint=f"try: help {words[0]}", lacks=True)
        typed = " ".join(words[:2])
        if hint := instead_of(words):
            return UsageError(f"unknown command: {one_line(typed, 60)}", hint=hint)
        close = difflib.get_close_matches(typed, self._commands, n=1) or difflib.get_close_matches(typed.split(" ")[0], self._commands, n=1)
        return UsageError(f"unknown command: {one_line(typed, 60)}", hint=f"did you mean: {close[0]}" if close else "try: help")


registry = Registry()
