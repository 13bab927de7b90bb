"""What llama.cpp's last words mean, in ours. The patterns are the program's own messages (b11434)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from synaptic.process import relay_log
from synaptic.terminal import one_line

_LOST = "a worker was lost"
_MEANINGS = (
    (r"Failed to connect to (\S+)", "worker {0} does not answer"),
    (r"Cannot resolve host '([^']*)'", "the name {0} does not resolve"),
    (r"RPC server version mismatch: (\S+)", "a worker speaks protocol {0}, this llama-server another: use one release everywhere"),
    (r"RPC handshake failed for (\S+)", "worker {0} speaks another protocol: use one release of llama.cpp everywhere"),
    (r"Remote RPC server crashed or returned malformed response", _LOST),
    (r"send failed \(bytes_sent", _LOST),
    (r"unknown model architecture: '?([^']+)'?", "this llama-server does not know the architecture {0}: a newer one may"),
    (r"data is not within the file bounds", "the model file is incomplete"),
    (r"error loading model: (.+)", "{0}"),
    (r"failed to allocate (?:buffer|.*memory)|out of memory|cudaMalloc failed", "out of memory"),
    (r"couldn't bind HTTP server socket, .*port: (\d+)", "port {0} is taken"),
    (r"error: invalid argument: (\S+)", "this llama-server does not know {0}: it is too old or too new"),
    (r"Failed to create server socket", "its port is taken, or the address is not this machine's"),
    (r"error while loading shared libraries: (\S+?):", "the library {0} is missing"),
)

_FINAL = (  # a retry cannot cure these
    r"RPC server version mismatch|RPC handshake failed|unknown model architecture|data is not within the file bounds|error loading model",
    r"failed to allocate (?:buffer|.*memory)|out of memory|cudaMalloc failed|error: invalid argument|error while loading shared libraries",
    r"failed to load model|invalid magic|failed to read magic",
)

# at every answer: forty lines, and one more for each slot and each prompt that is kept; not what it took
_ROUTINE = re.compile(
    rb"\t|[\d.]+ I (?:srv|slot) +(?:get_availabl|prompt_save|load|update|launch_slot_|init_sampler|operator\(\)|server_strea|update_slots):"
)


def is_routine(line: bytes) -> bool:
    """Whether llama-server says this at every answer, and it helps nobody who reads along."""
    return _ROUTINE.match(line) is not None


def is_final(lines: Iterable[str]) -> bool:
    """Whether the same start can only end in the same way: a lost worker may come back, a bad file does not."""
    text = "\n".join(lines)
    return any(re.search(pattern, text) for pattern in _FINAL) and not re.search(
        r"Failed to connect to|crashed or returned malformed", text
    )


def explain(lines: Iterable[str]) -> str | None:
    """The cause that the newest telling line gives, as half a sentence; None when no line tells."""
    said = list(lines)
    meaning = _meaning(said)
    relays = relay_log.cause(said) if meaning in (None, _LOST) else None  # a relay knows which one, and how
    return one_line(relays, 120) if relays else meaning


def _meaning(lines: list[str]) -> str | None:
    for line in reversed(lines):
        for pattern, meaning in _MEANINGS:
            if match := re.search(pattern, line):
                return meaning.format(*(one_line(group, 120) for group in match.groups()))
    return None
