"""A command's word turns bold while it is typed, so that nobody is surprised; a prompt stays plain."""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer

from synaptic.commands.registry import Registry

LONGEST_WORD = 200  # characters looked at, however long the pasted line


class CommandLexer(Lexer):
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        lines = document.lines
        is_command = self._registry.is_command(lines[0][:LONGEST_WORD])

        def line(number: int) -> StyleAndTextTuples:
            text = lines[number] if number < len(lines) else ""
            if number > 0 or not is_command:
                return [("", text)]
            start = len(text) - len(text.lstrip())
            end = start + len(text.split(maxsplit=1)[0])
            return [("", text[:start]), ("bold", text[start:end]), ("", text[end:])]

        return line
