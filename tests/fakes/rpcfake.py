"""
An rpc-server that behaves like ggml-rpc-server, misbehaves on request, and tells how each connection ended.

First line on stdout: `port N`. Then one line per connection, when it is over:

    ended N bare                  nothing was said
    ended N complete              the client read every answer, then left
    ended N reset                 the client left with a RST: harmless
    ended N closed before reply   the client left with a FIN: ggml-rpc-server would have died of SIGPIPE
    ended N refused               we ended it ourselves

Like the real one it serves one connection at a time and keeps two more waiting. With --busy it holds itself until
a line `free` comes on stdin.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import struct
import sys
import threading
import time

HELLO, DEVICE_COUNT, GET_DEVICE_MEMORY = 0x0E, 0x0F, 0x0B
RESET = struct.pack("ii", 1, 0)
ANSI = b'\x1b]52;c;ZXZpbA==\x07\x1b[2J[bold]evil[/bold]\xc2\x9b31m\xe2\x80\xae "x" \r\n'
HTTP = b"HTTP/1.1 400 Bad Request\r\nServer: fake/1.0 \x1b[31m\r\nContent-Length: 0\r\n\r\n"
HTML = b"<!DOCTYPE HTML>\n<html><title>Error response</title></html>\n"  # what a line that is no request gets from HTTP/0.9
MODES = (
    "ok silent http http-line garbage ansi rst-in-reply half-close half-close-at-once close dribble length-27 length-29 length-0 swapped "
    "no-devices many-devices free-over-total zero-memory huge-memory silent-after-hello close-after-hello late"
)


class ClosedError(Exception):
    """The client is gone; the text says how."""


def main() -> None:
    options = parse()
    listener = socket.socket(socket.AF_INET6 if ":" in options.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((options.host, options.port))
    listener.listen(1)
    holder = socket.create_connection(listener.getsockname()[:2]) if options.busy else None
    held_from = holder.getsockname() if holder else None
    threading.Thread(target=obey, args=(holder,), daemon=True).start()
    say(f"port {listener.getsockname()[1]}")
    number = 0
    while True:
        connection, peer = listener.accept()
        is_holder = peer == held_from
        number += not is_holder
        with connection:
            try:
                how = Conversation(connection, options, is_first=number == 1).run()
            except ClosedError as closed:
                how = str(closed)
            except ConnectionError:
                how = "reset"
        if not is_holder:
            say(f"ended {number} {how}")


def obey(holder: socket.socket | None) -> None:
    for line in sys.stdin:
        if line.strip() == "free" and holder is not None:
            holder.close()


class Conversation:
    def __init__(self, connection: socket.socket, options: argparse.Namespace, *, is_first: bool) -> None:
        self.connection = connection
        self.options = options
        self.mode = options.mode
        self.is_first = is_first
        self.said = False

    def run(self) -> str:
        if self.mode in ("silent", "http-line"):
            return self.never_answer()
        command, length = struct.unpack("<BQ", self.read(9))
        if command != HELLO or length != (0 if self.options.style == "legacy" else 24):
            return "refused"
        self.read(length)
        time.sleep(self.options.slow)
        if self.mode == "late" and self.is_first:  # answers when the client has lost patience and sent a line end
            self.read(4)
        if refused := self.hello():
            return refused
        while True:
            command, length = struct.unpack("<BQ", self.read(9, at_rest=True))
            payload = self.read(length)
            if self.mode == "close-after-hello":
                return "refused"
            if self.mode == "silent-after-hello":
                return self.never_answer()
            answer = self.answer(command, payload)
            if answer is None:
                return "refused"
            self.reply(answer)

    def never_answer(self) -> str:
        """Reads on; what waits for a line complains when it has one."""
        while True:
            if b"\n" in self.read(1) and self.mode == "http-line":
                self.connection.sendall(HTML)
                return "refused"

    def hello(self) -> str:
        version = bytes(int(part) for part in self.options.version.split("."))
        good = version if self.options.style == "legacy" else version + bytes(25)
        raw = {"http": HTTP, "garbage": bytes(range(200, 250)), "ansi": ANSI, "close": b"", "half-close-at-once": b""}
        raw |= {"rst-in-reply": frame(good)[:12], "half-close": frame(good)[:12], "swapped": struct.pack(">Q", len(good)) + good}
        raw |= {"length-27": frame(good[:-1]), "length-29": frame(good + b"\0"), "length-0": frame(b"")}
        if self.mode == "dribble":
            return self.dribble(frame(good))
        if self.mode not in raw:
            self.reply(good)
            return ""
        self.connection.sendall(raw[self.mode])
        if self.mode == "rst-in-reply":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        elif self.mode.startswith("half-close"):
            self.connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ClosedError):
                self.read(1)
        return "refused"

    def dribble(self, data: bytes) -> str:
        for byte in data:
            self.connection.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                self.read(1)
            self.connection.sendall(bytes([byte]))
        return "refused"

    def answer(self, command: int, payload: bytes) -> bytes | None:
        is_old = int(self.options.version.split(".")[0]) < 3
        devices = {"no-devices": 0, "many-devices": 2**32 - 1}.get(self.mode, self.options.devices)
        if command == DEVICE_COUNT and not is_old:
            return struct.pack("<I", devices)
        if command != GET_DEVICE_MEMORY or len(payload) != (0 if is_old else 4):
            return None
        if not is_old and struct.unpack("<I", payload)[0] >= devices:
            return None
        lies = {"free-over-total": (2**63, 2**20), "zero-memory": (0, 0), "huge-memory": (2**60, 2**60)}
        return struct.pack("<QQ", *lies.get(self.mode, (self.options.free, self.options.total)))

    def reply(self, payload: bytes) -> None:
        """Two sends, as the real one does it: the second is the deadly one."""
        try:
            if not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                raise ClosedError("closed before reply")
        except BlockingIOError:
            pass  # nothing more was said, and the client is there
        except ConnectionResetError as error:
            raise ClosedError("reset") from error
        try:
            self.connection.sendall(struct.pack("<Q", len(payload)))
            self.connection.sendall(payload)
        except ConnectionResetError as error:
            raise ClosedError("reset") from error
        except BrokenPipeError as error:
            raise ClosedError("closed before reply") from error

    def read(self, count: int, *, at_rest: bool = False) -> bytes:
        """at_rest: every answer was sent, so that the client may leave now."""
        data = b""
        while len(data) < count:
            try:
                chunk = self.connection.recv(count - len(data))
            except ConnectionResetError as error:
                raise ClosedError("reset") from error
            if not chunk:
                raise ClosedError(("complete" if at_rest else "closed before reply") if self.said else "bare")
            self.said = True
            data += chunk
        return data


def frame(payload: bytes) -> bytes:
    return struct.pack("<Q", len(payload)) + payload


def say(line: str) -> None:
    print(line, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--style", choices=["modern", "legacy"], default="modern")
    parser.add_argument("--version", default="7.0.0")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--free", type=int, default=8 << 30)
    parser.add_argument("--total", type=int, default=8 << 30)
    parser.add_argument("--mode", choices=MODES.split(), default="ok")
    parser.add_argument("--slow", type=float, default=0.0, help="seconds before the answer to HELLO")
    parser.add_argument("--busy", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
