"""
A network full of servers, good and bad, on consecutive addresses of 127.0.0.0/8: one process, one thread per server.

    population.py --first 127.0.7.1 good*3 silent blackhole …        (kinds: see KINDS)

First line on stdout: `port N`, the port of all. Then `at ADDRESS KIND` for each, and `ready`. A line `end` on stdin ends it:
for every connection that was accepted `ended ADDRESS KIND HOW` is printed (see rpcfake.py), then it leaves.
"""

from __future__ import annotations

import argparse
import ipaddress
import select
import socket
import sys
import threading
from collections.abc import Callable

from rpcfake import ClosedError, Conversation, say

BASE = {"style": "modern", "version": "7.0.0", "devices": 1, "free": 8 << 30, "total": 16 << 30, "slow": 0.0, "mode": "ok"}
MODES = (
    "silent http http-line garbage ansi rst-in-reply half-close close dribble length-29 length-0 swapped "
    "many-devices free-over-total huge-memory zero-memory"
)
KINDS: dict[str, dict[str, object]] = {
    "good": {},
    "many": {"devices": 4},
    "slow-good": {"slow": 0.4},
    "too-slow": {"slow": 5.0},
    "legacy": {"style": "legacy", "version": "2.0.0"},
    "too-new": {"version": "99.0.0"},
    "half-full": {"free": 1 << 30},
    **{mode: {"mode": mode} for mode in MODES.split()},
    "busy": {},
    "blackhole": {},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", default="127.0.7.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("kinds", nargs="+")
    options = parser.parse_args()
    kinds = [kind for word in options.kinds for kind in [word.partition("*")[0]] * int(word.partition("*")[2] or 1)]
    port = options.port or free_everywhere()
    say(f"port {port}")
    first = ipaddress.IPv4Address(options.first)
    servers = [Server(str(first + offset), port, kind) for offset, kind in enumerate(kinds)]
    for server in servers:
        say(f"at {server.address} {server.kind}")
    say("ready")
    sys.stdin.readline()
    for server in servers:
        server.is_over = True
    for server in servers:
        server.end()


def free_everywhere() -> int:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


class Server:
    def __init__(self, address: str, port: int, kind: str) -> None:
        self.address = address
        self.kind = kind
        self.ended: list[str] = []
        self.is_over = False
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(0 if kind == "blackhole" else 1)
        self.holder = socket.create_connection((address, port)) if kind in ("busy", "blackhole") else None
        self.thread: threading.Thread | None = None
        if kind != "blackhole":  # whose queue is full: every further SYN is dropped
            self.thread = threading.Thread(target=self.serve, daemon=True)
            self.thread.start()

    def serve(self) -> None:
        while select.select([self.listener], [], [], 0.1)[0] or not self.is_over:
            if not select.select([self.listener], [], [], 0)[0]:
                continue
            try:
                connection, peer = self.listener.accept()
            except OSError:
                continue
            how = talk(connection, argparse.Namespace(**(BASE | KINDS[self.kind])), is_first=not self.ended)
            if self.holder is None or peer != self.holder.getsockname():
                self.ended.append(how)

    def end(self) -> None:
        if self.thread:
            if self.holder:
                self.holder.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self.holder.shutdown(socket.SHUT_RDWR)
            self.thread.join(timeout=10)
        for how in self.ended:
            say(f"ended {self.address} {self.kind} {how}")


def talk(connection: socket.socket, options: argparse.Namespace, *, is_first: bool) -> str:
    run: Callable[[], str] = Conversation(connection, options, is_first=is_first).run
    with connection:
        try:
            return run()
        except ClosedError as closed:
            return str(closed)
        except ConnectionError:
            return "reset"


if __name__ == "__main__":
    main()
