"""
A conversation as text for a model, and where its answer ends.

distributed-llama knows four kinds of chat template by a mark in the tokenizer's own, and writes them with errors. Both
ways are here: "compatible" with it, or "correct", as the models were trained.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

from synaptic.dllama.tokenizer_file import Vocabulary

_THINKING = b"<think>\n"


class UnknownTemplateError(ValueError):
    """Says why, in words that follow the tokenizer's name."""


class Template(enum.Enum):
    """In the order in which their marks are looked for."""

    LLAMA2 = "[INST]"
    LLAMA3 = "<|start_header_id|>"
    DEEPSEEK3 = "<｜Assistant｜>"
    CHATML = "<|im_start|>"


class Style(enum.Enum):
    COMPATIBLE = "compatible"
    CORRECT = "correct"


@dataclasses.dataclass(frozen=True)
class Message:
    """`role`: system, user or assistant; the templates leave out most others."""

    role: str
    text: str


@dataclasses.dataclass(frozen=True)
class Prompt:
    """`shown`: the end of the text, which the user sees as the beginning of the answer."""

    text: bytes
    shown: bytes = b""


def template_of(vocabulary: Vocabulary) -> Template:
    if not vocabulary.template:
        raise UnknownTemplateError("has no chat template")
    for template in Template:
        if template.value.encode() in vocabulary.template:
            return template
    raise UnknownTemplateError("has a chat template that is not of llama2, llama3, deepSeek3 or chatml")


def prompt(vocabulary: Vocabulary, messages: Sequence[Message], template: Template | None = None, style: Style = Style.CORRECT) -> Prompt:
    """What follows what the model has seen already, up to the begin of its answer. UnknownTemplateError."""
    kind = template or template_of(vocabulary)
    end = vocabulary.tokens[vocabulary.ends[0]] if vocabulary.ends else b""
    items = [(message.role.encode(), message.text.encode()) for message in messages]
    correct = style is Style.CORRECT
    if kind is Template.LLAMA2:
        return Prompt(_llama2(items, end, correct))
    if kind is Template.LLAMA3:
        turns = [b"<|start_header_id|>" + role + b"<|end_header_id|>\n\n" + text + end for role, text in items]
        return Prompt(b"".join(turns) + b"<|start_header_id|>assistant<|end_header_id|>\n\n")
    if kind is Template.DEEPSEEK3:
        return Prompt(_deepseek3(items, end if correct else b""), _THINKING)
    return Prompt(_chatml(items, correct))


class Verdict(enum.Enum):
    GOES_ON = "goes on"
    MAY_END = "may end"  # what came so far is the beginning of a text that ends the answer
    ENDS = "ends"


class StopDetector:
    """Holds text back while it may be the beginning of one that ends the answer, with a little before it."""

    def __init__(self, vocabulary: Vocabulary, stops: Sequence[bytes] = ()) -> None:
        """`stops`: more texts that end it."""
        self._ends = frozenset(vocabulary.ends)
        self._stops = [*(vocabulary.tokens[end] for end in vocabulary.ends), *filter(None, stops)]
        self._padding = max(map(len, self._stops), default=0)
        self._held = b""

    def append(self, token: int, piece: bytes | None) -> tuple[Verdict, bytes]:
        """The verdict, and the text that may be shown now."""
        self._held += piece or b""
        if token in self._ends:
            return Verdict.ENDS, self._release(len(self._held))
        for stop in self._stops:
            if len(self._held) > len(stop) + 2 * self._padding:
                continue
            for offset in range(min(self._padding, len(self._held) - 1) + 1):
                overlap = self._held[offset : offset + len(stop)]
                if len(self._held) - offset > len(stop) + self._padding or not overlap or not stop.startswith(overlap):
                    continue
                return (Verdict.ENDS, self._release(offset)) if overlap == stop else (Verdict.MAY_END, b"")
        return Verdict.GOES_ON, self._release(len(self._held))

    def rest(self) -> bytes:
        """What was held back, when the answer ends for another reason."""
        return self._release(len(self._held))

    def _release(self, count: int) -> bytes:
        shown, self._held = self._held[:count], b""
        return shown


def _llama2(items: list[tuple[bytes, bytes]], end: bytes, correct: bool) -> bytes:
    """The original also ends the user's words with an end token."""
    text, after_user = b"", b"" if correct else end
    if [role for role, _ in items[:2]] == [b"system", b"user"]:
        text = b"[INST] <<SYS>>\n" + items[0][1] + b"\n<</SYS>>\n\n" + items[1][1] + b" [/INST]" + after_user
        items = items[2:]
    for role, words in items:
        if role == b"assistant":
            text += words + end
        elif role == b"user":
            text += b"[INST] " + words + b" [/INST]" + after_user
    return text


def _deepseek3(items: list[tuple[bytes, bytes]], end: bytes) -> bytes:
    """`end`: of the assistant's words; the original forgets it."""
    text = b""
    if items and items[0][0] == b"system":
        text, items = items[0][1], items[1:]
    for role, words in items:
        if role == b"user":
            text += "<｜User｜>".encode() + words
        elif role == b"assistant":
            text += "<｜Assistant｜>".encode() + words + end
    return text + "<｜Assistant｜>".encode() + _THINKING


def _chatml(items: list[tuple[bytes, bytes]], correct: bool) -> bytes:
    """The original begins an answer after every message, not only after the last."""
    answer = b"<|im_start|>assistant\n"
    text = b""
    for role, words in items:
        if role in (b"system", b"user", b"assistant"):
            text += b"<|im_start|>" + role + b"\n" + words + b"<|im_end|>\n" + (b"" if correct else answer)
    return text + answer if correct else text
