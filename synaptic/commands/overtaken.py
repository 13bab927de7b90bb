"""What guides to these engines say to type, and what does the same here. Only hints: no line is understood as another."""

from __future__ import annotations

import re
from collections.abc import Sequence

LINES = (  # how the line begins
    ("ollama pull", "try: model pull NAME"),
    ("ollama list", "try: model list"),
    ("ollama ps", "try: nodes list"),
    ("ollama run", "try: ask TEXT --model NAME"),
    ("ollama show", "try: model show NAME"),
    ("export", "the environment is read at the start; here, try: rpc add HOST:PORT"),
    ("curl", "an rpc-server speaks its own protocol, not HTTP; try: rpc check HOST:PORT"),
    ("rpc-server", "try: worker start"),
    ("ggml-rpc-server", "try: worker start"),
    ("llama-server", "try: coordinator start MODEL"),
    ("llama-bench", "try: bench run --model MODEL"),
    ("dllama inference", "try: dllama root FILE.m, then: ask TEXT"),
    ("dllama chat", "try: dllama root FILE.m, then just ask"),
    ("dllama-api", "try: serve"),
    ("cluster control", "try: cluster exec NODE -- COMMAND"),
)
_OURS = re.compile(r"(?:synaptic|python3? (?:-m synaptic|(?:\./)?main\.py))(?:\s+(?P<rest>.*))?", re.DOTALL)
_FLAGS = {
    ("worker start", "--mem"): "llama.cpp has no such flag any more: a worker lends what its device has free, and a plan fits it",
    ("worker start", "--model"): "try: dllama worker --model FILE.m; an rpc-server is sent its share",
}


def instead_of(words: Sequence[str]) -> str | None:
    """The hint for a line that is no command; None where nothing is known of it."""
    line = " ".join(words).removeprefix("./")
    return next((hint for begin, hint in LINES if f"{line} ".startswith(f"{begin} ")), None)


def instead_of_line(line: str) -> str | None:
    """The same for a line of the shell, which may be a prompt: only what nobody would say to a model."""
    words = line.split()
    second = words[1] if len(words) > 1 else "-"
    is_typed = second.startswith("-") or any(mark in second for mark in ("://", "="))
    known = [begin for begin, _ in LINES if f"{line.removeprefix('./')} ".startswith(f"{begin} ")]
    return instead_of(words) if known and (" " in known[0] or is_typed) else None


def ours_in(line: str) -> str | None:
    """What follows this program's own name, as guides have it for the outside; None where the line does not begin with that."""
    match = _OURS.fullmatch(line)
    return (match["rest"] or "").strip() if match else None


def instead_of_flag(command: str, flag: str) -> str | None:
    return _FLAGS.get((command, flag.partition("=")[0]))
