"""
A command's signature is its grammar.

A command is an async function that takes the session and returns a result.

    positional parameter      an argument           `*name` takes one or more, a default makes it optional
    keyword-only parameter    a --flag              bool: a switch
    Annotated[…, Text()]      the rest of the line, verbatim
    Annotated[…, AnyNumber()] `*name` may be left out
    Annotated[…, Rest()]      what follows --, word by word; keyword-only, a tuple
    Annotated[…, Choice(…)]   one of these words
    Annotated[…, Complete(f)] how to complete it from the live session

Annotations convert (a type's `parse`, else the type itself); the docstring is the help, and flags.py says what each flag means.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from synaptic.commands.flags import told
from synaptic.results import Result

Handler = Callable[..., Awaitable[Result]]
Completion = tuple[str, str]  # the word, and what it is
Source = Callable[[Any], Sequence[Completion]]
LONGEST_USAGE = 76  # columns


@dataclasses.dataclass(frozen=True)
class Complete:
    """`source(session)` gives the words that fit here, from live state; it must not block."""

    source: Source


class Choice:
    def __init__(self, *words: str) -> None:
        self.words = words


class Text:
    """The rest of the line as typed: no quoting, no flags after the first plain word."""


class AnyNumber:
    """`*name` may be left out altogether."""


class Rest:
    """The words after `--`, as they were typed: flags among them are not ours."""


@dataclasses.dataclass(frozen=True)
class Param:
    name: str  # as typed: dashes, no underscores
    target: str  # the handler's parameter
    convert: Callable[[str], object]
    is_flag: bool = False
    is_many: bool = False
    is_text: bool = False
    is_rest: bool = False
    is_required: bool = True
    choices: tuple[str, ...] = ()
    source: Source | None = None
    value: str = ""  # of a flag: the word for it in usage
    meaning: str = ""  # of a flag: what it does
    default: str = ""  # of a flag: what it is when left out; empty where that says nothing

    @property
    def is_switch(self) -> bool:
        return self.is_flag and self.convert is bool

    @property
    def usage(self) -> str:
        if self.is_rest:
            return f"-- <{self.name}>…"
        return self.form if self.is_required else f"[{self.form}]"

    @property
    def form(self) -> str:
        """As it is typed, with its value."""
        word = ("|".join(self.choices) if self.choices else f"<{self.value or self.name}>") + ("…" if self.is_many else "")
        return f"--{self.name}" if self.is_switch else f"--{self.name} {word}" if self.is_flag else word


@dataclasses.dataclass(frozen=True)
class Command:
    name: str
    handler: Handler
    params: tuple[Param, ...]
    summary: str
    details: str
    group: str
    is_hidden: bool = False

    @property
    def usage(self) -> str:
        """On one line of a terminal; flags that do not fit there stay for the help."""
        flags = [param for param in self.params if param.is_flag]
        rest = [self.rest.usage] if self.rest else []
        head = [self.name, *(param.usage for param in self.arguments)]
        whole = " ".join([*head, *(flag.usage for flag in flags), *rest])
        if len(whole) <= LONGEST_USAGE or all(flag.is_required for flag in flags):
            return whole
        return " ".join([*head, *(flag.usage for flag in flags if flag.is_required), "[flags]", *rest])

    @property
    def noun(self) -> str:
        return self.name.split()[0]

    @property
    def flags(self) -> dict[str, Param]:
        return {f"--{param.name}": param for param in self.params if param.is_flag}

    @property
    def arguments(self) -> tuple[Param, ...]:
        return tuple(param for param in self.params if not param.is_flag and not param.is_rest)

    @property
    def rest(self) -> Param | None:
        return next((param for param in self.params if param.is_rest), None)

    @property
    def takes_text(self) -> bool:
        return any(param.is_text for param in self.params)


def params_of(handler: Handler, command: str) -> tuple[Param, ...]:
    session, *parameters = inspect.signature(handler).parameters.values()
    # the session's own annotation is for the type checker: resolving it would import every room
    names = {name: hint for name, hint in handler.__annotations__.items() if name not in (session.name, "return")}
    hints = typing.get_type_hints(types.SimpleNamespace(__annotations__=names), handler.__globals__, include_extras=True)
    return tuple(_param(parameter, hints[parameter.name], command) for parameter in parameters)


def _param(parameter: inspect.Parameter, hint: object, command: str) -> Param:
    notes = getattr(hint, "__metadata__", ())
    kind: Any = getattr(hint, "__origin__", hint) if notes else hint
    if isinstance(kind, types.UnionType):  # `int | None`: None is "left out", never typed
        kind = next(option for option in kind.__args__ if option is not type(None))
    is_rest = any(isinstance(note, Rest) for note in notes)
    may_be_empty = any(isinstance(note, AnyNumber) for note in notes)
    name = parameter.name.strip("_").replace("_", "-")
    is_flag = parameter.kind is parameter.KEYWORD_ONLY and not is_rest
    value, meaning = told(command, name) if is_flag else ("", "")
    return Param(
        name=name,
        target=parameter.name,
        convert=getattr(kind, "parse", kind),
        is_flag=is_flag,
        is_many=parameter.kind is parameter.VAR_POSITIONAL,
        is_text=any(isinstance(note, Text) for note in notes),
        is_rest=is_rest,
        is_required=parameter.default is parameter.empty and not may_be_empty,
        choices=next((note.words for note in notes if isinstance(note, Choice)), ()),
        source=next((note.source for note in notes if isinstance(note, Complete)), None),
        value=value,
        meaning=meaning,
        default=_said(parameter.default) if is_flag else "",
    )


def _said(default: object) -> str:
    """A default that a reader understands as it stands."""
    if isinstance(default, bool) or not isinstance(default, int | float | str):
        return ""
    return default if isinstance(default, str) else f"{default:g}"
