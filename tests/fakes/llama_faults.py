"""
What the llama-server stand-in shall do wrong. It comes from the environment, as words: FAKE="load_s=2 stall_after=5".
Our coordinator hands only some variables on, so each of these may be written with GGML_ in front.

FAKE_TEXT       what it answers; else one sentence. A token is a word with the space before it.
                FAKE="repeat=N" says it N times
FAKE_LOG        a file that gets what the process inherited, as JSON
FAKE, the start
    load_s=S never_ready    /health says 503 for so long, or always
    bind_s=S                the port opens late
    exit=N abort_s=S        ends before it is ready
    no_memory               says that its memory does not suffice, and ends
    refuse_worker           aborts at once, as for a worker that does not listen
    ignore_term[=N]         passes over every SIGTERM, or the first N
    no_offload              everything stays on this machine
    once=FILE               all faults, but only while FILE does not exist; the first start makes it
FAKE, an answer; N counts tokens
    delay_ms=MS             before every token
    reasoning               thinks first
    cut_after=N rst_after=N the connection ends, with a FIN or a RST
    abort_after=N           the process aborts; lose_worker=N: with the words for a lost worker
    stall_after=N           says nothing more while the client stays; ping_after=N: only comments
    error_after=N           an error event
    bad_json_after=N        one event that is no JSON, then goes on; bad_json: every event
    big_line=N              after one token an event of N MiB
    no_done                 ends without finish_reason and [DONE]; no_finish: with [DONE] alone
    end_at_finish           ends right after finish_reason; linger: stays open after it
    no_newline              [DONE] without a line end, as dllama-api writes it
    crlf split_utf8         lines end with CRLF; every byte is a chunk of its own
    plain                   no usage, no timings
    escapes                 answers with what a terminal must not obey
    status=N                answers every prompt with this HTTP status
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

ABORTED = "/src/ggml/src/ggml-rpc/ggml-rpc.cpp:{}: {}"
LOST = ABORTED.format(123, "Remote RPC server crashed or returned malformed response")


def setting(name: str) -> str:
    return os.environ.get(name) or os.environ.get("GGML_" + name) or ""


def faults() -> dict[str, str]:
    """FAKE="a b=2" → {"a": "", "b": "2"}"""
    found = {name: value for name, _, value in (word.partition("=") for word in setting("FAKE").split())}
    if marker := found.get("once"):
        if Path(marker).exists():
            return {}
        Path(marker).touch()
    return found


FAKE = faults()


def number(name: str, default: float = 0.0) -> float:
    return float(FAKE[name]) if FAKE.get(name) else default


def abort(words: str = "") -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if words:
        print(words, file=sys.stderr, flush=True)
    os.abort()  # at once, where a signal from elsewhere leaves time for more words
