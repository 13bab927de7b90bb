"""
Values as systemd reads them (systemd.syntax, systemd.service): what cannot be written down is refused.

    %   a specifier, everywhere            written %%
    $   a variable, in ExecStart= alone    written $$
    \\ " ' and spaces                       inside double quotes, with backslashes
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from synaptic.errors import UsageError
from synaptic.terminal import one_line

_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def exec_line(words: tuple[str, ...], instead: Mapping[str, str] | None = None) -> str:
    """
    ExecStart=. The program is an absolute path, in which systemd has no way to say that a $ is none of its own.

    `instead`: words that systemd is to expand itself, by the words that they take the place of.
    """
    program = words[0]
    if not program.startswith("/") or "$" in program:
        raise UsageError(f"not a path that systemd can start: {one_line(program, 100)}", hint="an absolute path without $")
    own = instead or {}
    return " ".join([_quoted(_legal(program)), *(own.get(word) or _quoted(_legal(word)).replace("$", "$$") for word in words[1:])])


def assignment(name: str, value: str) -> str:
    """What follows Environment=."""
    return _quoted(_legal(f"{name}={value}"))


def path(value: str) -> str:
    """One of several paths, such as those of RequiresMountsFor=."""
    return _quoted(_legal(value))


def line(value: str) -> str:
    """All that follows Description= and the like."""
    return _legal(value).replace("%", "%%")


def comment(value: str) -> str:
    """Behind #: only a line's end, and a backslash before it, would lead out of it."""
    return _legal(value).replace("\\", "/")


def _legal(value: str) -> str:
    if _CONTROL.search(value):
        raise UsageError(f"a unit cannot say {one_line(value, 100)}", hint="leave out line breaks and control characters")
    return value


def _quoted(value: str) -> str:
    doubled = value.replace("%", "%%")
    if _PLAIN.match(value):
        return doubled
    return '"' + doubled.replace("\\", "\\\\").replace('"', '\\"') + '"'
