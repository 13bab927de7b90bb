"""
Safe text: foreign words may be shown, never obeyed.

Model output, host names, mDNS records and log lines can hold escape sequences that set the clipboard,
clear the screen or reverse the reading order. `visible` turns each such character into a printable escape.
"""

from __future__ import annotations

import re
import textwrap
from unicodedata import east_asian_width

NARROWEST = 16  # columns in which sentences still hang
EXAMPLE = 4  # columns by which a line to be typed is indented: it goes on further in, so as not to look as two

# C0 except tab and newline, DEL, C1, line and paragraph separators, bidi overrides and isolates, lone surrogates
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SECOND = "\udfff"  # a column, in no text that is visible
_LINE_BREAKS = re.compile(r"[\t\n]+")
_LEAD = re.compile(r" *(?:[-✗!✓→] |\S.*?\S {2,}(?=\S))?")  # an indentation, a mark, or what stands in a first column


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


def wrapped(text: str, width: int) -> str:
    """`text` in lines of at most `width` columns. Words stay whole, and what follows hangs below where its sentence began."""
    return "\n".join(_hung(line, width) for line in text.split("\n"))


def _hung(line: str, width: int) -> str:
    line = _padded(line)
    if len(line) <= width:
        return line.replace(_SECOND, "")
    lead = _LEAD.match(line)
    indent = lead.end() if lead else 0
    if width - indent < NARROWEST:
        indent = len(line) - len(line.lstrip(" "))
    deeper = " " * (EXAMPLE if line.startswith(" " * EXAMPLE) and not line[:indent].strip() else 0)
    rows = textwrap.wrap(line[indent:], max(width - indent, 1), subsequent_indent=deeper, break_long_words=False, break_on_hyphens=False)
    return (line[:indent] + ("\n" + " " * indent).join(rows)).replace(_SECOND, "")


def _padded(line: str) -> str:
    """With its second column marked after what takes two, so that the length is the width."""
    return line if line.isascii() else "".join(each + _SECOND if east_asian_width(each) in "WF" else each for each in line)
