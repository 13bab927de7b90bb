"""
Safe text: foreign words may be shown, never obeyed.

Model output, host names, mDNS records and log lines can hold escape sequences that set the clipboard,
clear the screen or reverse the reading order. `visible` turns each such character into a printable escape.
"""

from __future__ import annotations

import re

# C0 except tab and newline, DEL, C1, line and paragraph separators, bidi overrides and isolates, lone surrogates
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LINE_BREAKS = re.compile(r"[\t\n]+")


def visible(text: str) -> str:
    """Foreign `text` with every control character made visible; newlines and tabs stay."""
    return _UNSAFE.sub(_escape, text)


def one_line(text: str, limit: int = 200) -> str:
    """Foreign `text` for a table cell or a sentence: visible, on one line, at most `limit` characters."""
    line = _LINE_BREAKS.sub(" ", visible(text)).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return "^" + chr(code + 0x40)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def printable(text: str, encoding: str | None) -> str:
    """`text` as far as `encoding` can write it; what it cannot becomes `?` (our own marks become ASCII)."""
    name = encoding or "ascii"
    try:
        text.encode(name)
    except UnicodeEncodeError:
        return text.translate(_ASCII_MARKS).encode(name, "replace").decode(name)
    return text


_ASCII_MARKS = str.maketrans({"✓": "+", "✗": "x", "·": "-", "→": ">", "…": "...", "–": "-", "│": "|", "—": "-"})
