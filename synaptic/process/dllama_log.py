"""What dllama-api's log says, in our words. The patterns are the program's own messages (v0.16.5)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from synaptic.terminal import one_line

_REACHING = re.compile(r"Socket\[\d+\]: connecting to (\S+) worker")
_RETRIES = "Retrying in 3 seconds"
_STEPS = (  # what a start is doing, and what stopped it if this was the last it said
    (_REACHING, "reaching worker {0}", "worker {0} does not take the connection, or says nothing: it may be held by another root"),
    (re.compile(r"Socket\[\d+\]: connected"), "", "a worker took the connection and says nothing, or the workers do not reach each other"),
    (re.compile(r"Network is initialized|Loading weights"), "sending weights", "a worker takes no weights any more"),
)
_MEANINGS = (
    (r"Cannot connect to (\S+) \(", "worker {0} refuses: busy with a root, or down"),
    (r"Cannot resolve target (\S*) ?\(", "the name {0} does not resolve"),
    (r"Execution error: Connection reset|Inference error:|Error (?:reading from|writing to) socket", "a worker was lost"),
    (r"more nodes than the number of KV heads", "the model has fewer KV heads than there are nodes"),
    (r"supports max (\d+) threads", "this machine has {0} threads: config set threads {0}"),
    (r"Invalid tokenizer file|Old tokenizer version", "the tokenizer file is none, or too old"),
    (r"Unsupported magic number|Old model format", "the model file is none, or too old"),
    (r"Missing bytes in weight file", "the model file is not as long as its header says"),
    (r"Cannot open model file \((.+?)\)", "{0} cannot be opened"),
    (r"supports only Q40 weights with Q80|Unsupported CPU op code|Unsupported op quant", "dllama has no kernels for these weights"),
    (r"Not supported chat template|does not include chat template", "the tokenizer has no chat template that dllama knows"),
    (r"Cannot bind port", "its port is taken"),
    (r"bad_alloc|Cannot allocate", "out of memory"),
    (r"Unknown option: (\S+)", "this dllama-api does not know {0}: it is too old or too new"),
    (r"error while loading shared libraries: (\S+?):", "the library {0} is missing"),
)


def step_of(line: str) -> str | None:
    """What a start is doing from this line on; empty: nothing new worth a word."""
    for pattern, doing, _ in _STEPS:
        if match := pattern.search(line):
            return doing.format(*(one_line(group, 60) for group in match.groups()))
    return None


def is_reconnecting(line: str) -> bool:
    """Only if the log is no echo of a prompt or an answer, which stand in it too."""
    return _RETRIES in line


def has_no_port(lines: Iterable[str]) -> bool:
    return any("Cannot bind port" in line for line in lines)


def explain(lines: Iterable[str]) -> str | None:
    """The cause that the newest telling line gives, as half a sentence; None when no line tells."""
    for line in reversed(list(lines)):
        if "Weights loaded" in line:
            return None
        for pattern, meaning in _MEANINGS:
            if match := re.search(pattern, line):
                return meaning.format(*(one_line(group, 120) for group in match.groups()))
        for step, _, stopped in _STEPS:
            if match := step.search(line):
                return stopped.format(*(one_line(group, 60) for group in match.groups()))
    return None
