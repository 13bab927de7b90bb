"""Three quotes open a prompt of many lines; it is never a command."""

from __future__ import annotations

QUOTES = '"""'


def is_quoted(text: str) -> bool:
    return text.lstrip().startswith(QUOTES)


def unquote(text: str) -> str:
    return text.strip().removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")


def is_unfinished(text: str) -> bool:
    """Three quotes were opened and not closed again."""
    return is_quoted(text) and QUOTES not in text.lstrip()[len(QUOTES) :]
