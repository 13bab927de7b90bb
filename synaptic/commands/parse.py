"""Words → a call: a command with its arguments, converted and ready to run."""

from __future__ import annotations

import dataclasses
import difflib
import shlex
from collections.abc import Sequence

from synaptic.commands.grammar import Command, Param
from synaptic.commands.overtaken import instead_of_flag
from synaptic.errors import UsageError
from synaptic.results import Result
from synaptic.terminal import one_line

RANGES = {"port": (0, 65535), "lines": (1, 100_000), "threads": (1, 1024), "timeout": (0.01, 3600)}  # of these flags, wherever they are
SHORT = {"-f": "--follow", "-m": "--model", "-n": "--lines"}


@dataclasses.dataclass(frozen=True)
class Call:
    command: Command
    positional: tuple[object, ...]
    named: dict[str, object]

    async def run(self, session: object) -> Result:
        return await self.command.handler(session, *self.positional, **self.named)


def call_words(command: Command, words: Sequence[str]) -> Call:
    """Words as argv gave them, or as a line was split: flags may stand anywhere."""
    named, plain = _take_flags(command, words)
    if command.takes_text:
        before = len(command.arguments) - 1
        plain = [*plain[:before], *([" ".join(plain[before:])] if len(plain) > before else [])]
    return _call(command, plain, named)


def call_line(command: Command, rest: str) -> Call:
    """What follows the command's name on a shell line. A text argument is the last one, and taken verbatim."""
    if not command.takes_text:
        return call_words(command, split(rest))
    leading: list[str] = []
    while (head := rest.split(maxsplit=1)) and (flag := _flag(command, head[0])):
        size = 1 if "=" in head[0] or flag.is_switch else 2
        pieces = rest.split(maxsplit=size)
        leading += pieces[:size]
        rest = pieces[size] if len(pieces) > size else ""
    named, _ = _take_flags(command, leading)
    return _call(command, rest.strip().split(maxsplit=len(command.arguments) - 1), named)


def _call(command: Command, plain: list[str], named: dict[str, object]) -> Call:
    arguments = _take_arguments(command, plain)
    missing = [flag.form for flag in command.flags.values() if flag.is_required and flag.target not in named]
    if missing:
        raise usage(command, f"{command.name} needs {' and '.join(missing)}", lacks=True)
    return Call(command, arguments, named)


def split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # an apostrophe that was never closed
        return line.split()


def _flag(command: Command, word: str) -> Param | None:
    name = word.partition("=")[0]
    return command.flags.get(SHORT.get(name, name))


def _take_flags(command: Command, words: Sequence[str]) -> tuple[dict[str, object], list[str]]:
    named: dict[str, object] = {}
    plain: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--" and command.rest:
            return {**named, command.rest.target: tuple(waiting)}, plain
        if word == "--":
            return named, plain + waiting
        param = _flag(command, word)
        if param is None:
            if word.startswith("--") and not command.takes_text:
                raise usage(command, f"{command.name} has no flag {one_line(word, 40)}", _other_flag(command, word))
            plain.append(word)
        elif param.is_switch:
            named[param.target] = True
        elif "=" in word:
            named[param.target] = _convert(command, param, word.partition("=")[2])
        elif waiting:
            named[param.target] = _convert(command, param, waiting.pop(0))
        else:
            raise usage(command, f"--{param.name} needs a value", lacks=True)
    return named, plain


def _other_flag(command: Command, word: str) -> str | None:
    close = difflib.get_close_matches(word, command.flags, n=1)
    return instead_of_flag(command.name, word) or (f"did you mean: {close[0]}" if close else None)


def _take_arguments(command: Command, plain: list[str]) -> tuple[object, ...]:
    values: list[object] = []
    for param in command.arguments:
        if param.is_required and not plain:
            raise usage(command, f"{command.name} needs {param.usage}", lacks=True)
        taken = plain if param.is_many else plain[:1]
        values += [_convert(command, param, word) for word in taken]
        plain = plain[len(taken) :]
    if plain:
        raise usage(command, f'{command.name} takes no "{one_line(plain[0], 40)}"')
    return tuple(values)


def _convert(command: Command, param: Param, word: str) -> object:
    if param.choices and word not in param.choices:
        taker = f"--{param.name}" if param.is_flag else command.name
        close = difflib.get_close_matches(word, param.choices, n=1)
        *others, last = param.choices
        message = f'{taker} takes {", ".join(others)} or {last}, not "{one_line(word, 40)}"'
        raise usage(command, message, f"did you mean: {taker} {close[0]}" if close else None)
    try:
        value = param.convert(word)
    except ValueError:
        kind = {"int": "a whole number", "float": "a number"}.get(getattr(param.convert, "__name__", ""), f"a {param.name}")
        raise usage(command, f'{_named(param)}: "{one_line(word, 40)}" is not {kind}') from None
    least, most = RANGES.get(param.name, (None, None)) if param.is_flag else (None, None)
    if isinstance(value, int | float) and least is not None and most is not None and not least <= value <= most:
        raise usage(command, f"{_named(param)} is {least:g} to {most:g}, not {one_line(word, 40)}")
    return value


def _named(param: Param) -> str:
    return f"--{param.name}" if param.is_flag else param.name


def usage(command: Command, message: str, hint: str | None = None, *, lacks: bool = False) -> UsageError:
    more = f"; see: help {command.name}" if "[flags]" in command.usage else ""
    return UsageError(message, hint=hint or f"usage: {command.usage}{more}", lacks=lacks)
