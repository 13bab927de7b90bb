"""
The relay: passes on what a coordinator and its workers say to each other, in a process of its own.

    python -m synaptic.process.relay to-workers [OPTIONS] -- llama-server … --rpc A:P,B:P …
    python -m synaptic.process.relay to-here --listen HOST:PORT --to 127.0.0.1:PORT --cert FILE [OPTIONS] [-- PROGRAM …]

This process listens, starts the relay beside itself, and becomes PROGRAM: the pid, the exit code and the process group
are PROGRAM's, and whoever adopts or ends it does the same to the relay. The relay holds one end of a pipe whose other
end PROGRAM carries with it unknowingly: it is closed when PROGRAM ends, however it does, and the relay ends too.
A worker that is lost takes its coordinator down, which could only hang; so does the end of the relay itself.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from synaptic.endpoint import Endpoint
from synaptic.errors import os_reason
from synaptic.process.relay_log import say

NOTICE = 5.0  # seconds
LOOPBACK = "127.0.0.1"
_SECRETS = ("LLAMA_API_KEY",)  # by which a coordinator's process is known: the relay must not be taken for it
_OURS = ("PYTHONPATH",)  # nothing that PROGRAM needs


def main(words: Sequence[str]) -> int:
    ours, program = _split(list(words))
    asked = _parser().parse_args(ours)
    if asked.listeners:
        return _run(asked, [socket.socket(fileno=int(number)) for number in asked.listeners.split(",")])
    if asked.side == "to-workers":
        _become(*_with_relays(ours, program, asked.figures))
    listening = Endpoint.parse(asked.listen)
    listener = socket.create_server((listening.host, listening.port), family=socket.AF_INET6 if listening.is_ipv6 else socket.AF_INET)
    say(f"{listening} stands for {asked.to}")
    if program:
        _become(ours, [listener], program)
    return _run(asked, [listener])


def _run(asked: argparse.Namespace, listeners: list[socket.socket]) -> int:
    from synaptic.process.relay_run import Orders, run  # what it needs takes a moment, which PROGRAM need not wait

    targets, is_local = tuple(map(Endpoint.parse, asked.to.split(","))), asked.side == "to-workers"
    return run(
        Orders(tuple(listeners), targets, is_local, asked.notice, asked.alive, asked.figures, asked.known, asked.cert, asked.clients)
    )


def _with_relays(ours: list[str], program: list[str], figures: Path | None) -> tuple[list[str], list[socket.socket], list[str]]:
    place = program.index("--rpc") + 1
    workers = [Endpoint.parse(text) for text in program[place].split(",")]
    listeners = [socket.create_server((LOOPBACK, 0)) for _ in workers]
    addresses = [f"{LOOPBACK}:{listener.getsockname()[1]}" for listener in listeners]
    for address, worker in zip(addresses, workers, strict=True):
        say(f"{address} stands for {worker}")
    if figures:
        ours = [*ours, "--figures", str(_of_this_start(figures))]
    return [*ours, "--to", ",".join(map(str, workers))], listeners, [*program[:place], ",".join(addresses), *program[place + 1 :]]


def _of_this_start(figures: Path) -> Path:
    """Each start counts for itself. What an earlier one could not take away goes now: only one runs at a time."""
    named = re.compile(rf"{re.escape(figures.stem)}\.\d+{re.escape(figures.suffix)}")
    for left in figures.parent.iterdir():
        if named.fullmatch(left.name):
            left.unlink(missing_ok=True)
    return figures.with_name(f"{figures.stem}.{os.getpid()}{figures.suffix}")


def _become(ours: list[str], listeners: list[socket.socket], program: list[str]) -> None:
    """Start the relay and be PROGRAM from here on."""
    alive, held_by_program = os.pipe()
    os.set_inheritable(held_by_program, True)
    _start(ours, listeners, alive)
    try:
        os.execve(program[0], program, {name: value for name, value in os.environ.items() if name not in _OURS})
    except OSError as error:
        say(f"cannot start {program[0]}: {os_reason(error)}")
        sys.exit(127)


def _start(ours: list[str], listeners: list[socket.socket], alive: int) -> None:
    numbers = [listener.fileno() for listener in listeners]
    words = ["--listeners", ",".join(map(str, numbers)), "--alive", str(alive)]
    subprocess.Popen(
        [sys.executable, "-m", "synaptic.process.relay", *ours, *words],
        pass_fds=[*numbers, alive],
        env={name: value for name, value in os.environ.items() if name not in _SECRETS},
        stdin=subprocess.DEVNULL,
        restore_signals=False,
    )


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Our own words, and PROGRAM's."""
    if "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m synaptic.process.relay", allow_abbrev=False)
    parser.add_argument("side", choices=["to-workers", "to-here"])
    parser.add_argument("--notice", type=float, default=NOTICE, help="seconds without a sign of life after which the other side is lost")
    parser.add_argument("--figures", type=Path, help="a file in which it counts")
    parser.add_argument("--known", type=Path, help="a file of the workers that are reached over TLS")
    parser.add_argument("--cert", type=Path, help="a file of our own certificate, with its key in it or beside it")
    parser.add_argument("--clients", type=Path, help="a file of the certificates of those that may use this worker")
    parser.add_argument("--listen", help="HOST:PORT for to-here")
    parser.add_argument("--to", help="HOST:PORT of the worker")
    parser.add_argument("--listeners", help=argparse.SUPPRESS)
    parser.add_argument("--alive", type=int, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
