"""
An Ollama that misbehaves on request. First line on stdout: `port N`; then a line for each request: `POST /api/chat`, and
`gone` when a client left in the middle of an answer. What it says is what the real one said, in tests/data/ollama.

    ollamafake.py [--models a,b] [--loaded a] [--fault FAULT] [--look LOOK] [--text TEXT] [--delay MS] [--repeat N] [--key K] [--dump FILE]

--look   what happens when it is asked what it is: ok hang redirect error locked huge garbage close
--fault  what happens to a prompt; N counts tokens
    hang                    says nothing, not even headers
    hang-mid=N cut=N rst=N  after N tokens: silence, or an end with a FIN in the middle of a chunk, or a RST
    garbage=N array=N       a line that is no JSON, or no object
    error=N                 an error in the stream, after the 200
    line=N                  after one token a line of N MiB
    no-done                 ends without done:true
    blank=N                 only empty lines from then on
    status=S                that HTTP status, with an error of Ollama's form;  redirect: a 307 to --to
    thinking tools          thinks first; calls a tool
    split crlf              every byte is a chunk of its own; lines end with CRLF
    gzip                    compressed, although nobody asked
    once                    only the first prompt meets the fault (behind a comma: hang,once)
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from quiet import Quiet

TEXT = "A worker is a small server process on a machine that lends its memory and compute."
DATA = Path(__file__).parents[1] / "data" / "ollama"
AT = "2026-11-21T14:18:02.07676591Z"


class OverError(Exception):
    """The request met its fault."""


class Handler(Quiet, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    options: ClassVar[argparse.Namespace]
    served: ClassVar[itertools.count] = itertools.count()
    turn: ClassVar[threading.Lock] = threading.Lock()

    def do_GET(self) -> None:
        say(f"GET {self.path}")
        look = self.options.look
        if look == "hang":
            self.connection.recv(1)
        elif look == "close":
            self.close_connection = True
        elif look == "redirect":
            self.reply({}, 302, Location=self.options.to)
        elif look in ("error", "locked"):
            self.reply({"error": "out of order"}, 401 if look == "locked" else 500)
        elif look == "garbage":
            self.raw(b"\xff" * 100)
        elif look == "huge":
            self.raw(b'{"version": "' + b"9" * (8 << 20) + b'"}')
        else:
            page = self.pages().get(self.path)
            self.reply(page if page is not None else {"error": "not found"}, 200 if page is not None else 404)

    def pages(self) -> dict[str, object]:
        names = [name for name in self.options.models.split(",") if name]
        tags = [tag(name) for name in names]
        loaded = [running(name) for name in names if name in self.options.loaded.split(",")]
        listed = [recorded("models.json")["data"][0] | {"id": name} for name in names]
        return {
            "/api/version": recorded("version.json") | {"version": "0.13.5"},
            "/api/tags": {"models": tags},
            "/api/ps": {"models": loaded},
            "/v1/models": {"object": "list", "data": listed},
        }

    def do_POST(self) -> None:
        say(f"POST {self.path}")
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.options.dump:
            Path(self.options.dump).write_text(json.dumps({"headers": dict(self.headers), "body": asked}))
        with self.turn:
            number = next(self.served)
        faults = dict(word.partition("=")[::2] for word in self.options.fault.split(",") if word)
        if "once" in faults and number:
            faults = {}
        try:
            Prompt(self, asked, faults).answer()
        except OverError:
            self.close_connection = True
        except ConnectionError:
            say("gone")
            self.close_connection = True

    def reply(self, body: object, status: int = 200, **headers: str) -> None:
        self.raw(json.dumps(body).encode(), status, **headers)

    def raw(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response_only(status)
        for name, value in ({"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class Prompt:
    def __init__(self, handler: Handler, asked: dict, faults: dict[str, str]) -> None:
        self.handler = handler
        self.asked = asked
        self.faults = faults
        self.model = asked.get("model", "")

    def answer(self) -> None:
        if "hang" in self.faults:
            self.wait_until_alone()
        if "redirect" in self.faults:
            return self.handler.reply({}, 307, Location=self.handler.options.to)
        if status := int(self.faults.get("status", "0")):
            return self.handler.reply({"error": "the model\x1b[2J is out of order"}, status)
        if self.model not in self.handler.options.models.split(","):
            missing = recorded("not_found.json")["error"].replace("nope", self.model)
            return self.handler.reply({"error": missing}, 404)
        self.head()
        words = self.words()
        for count, word in enumerate(words):
            self.misbehave(count)
            self.line({"role": "assistant", "content": word})
            time.sleep(self.handler.options.delay / 1000)
        self.misbehave(len(words))
        if "no-done" not in self.faults:
            self.done(len(words))
        return self.chunk(b"")

    def words(self) -> list[str]:
        text = self.handler.options.text * self.handler.options.repeat
        if "thinking" in self.faults:
            self.line({"role": "assistant", "content": "", "thinking": "Let me think."})
        if "tools" in self.faults:
            call = {"id": "call_1", "function": {"index": 0, "name": "look_up", "arguments": {"word": "worker"}}}
            self.line({"role": "assistant", "content": "", "tool_calls": [call]})
        return [word if not place else " " + word for place, word in enumerate(text.split(" "))]

    def head(self) -> None:
        self.handler.send_response_only(200)
        headers = {"Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"}
        for name, value in (headers | ({"Content-Encoding": "gzip"} if "gzip" in self.faults else {})).items():
            self.handler.send_header(name, value)
        self.handler.end_headers()

    def done(self, tokens: int) -> None:
        end = recorded("chat.ndjson") | {"model": self.model, "done_reason": "stop"}
        self.send(json.dumps(end | {"eval_count": tokens, "eval_duration": tokens * 20_000_000}))

    def line(self, message: dict) -> None:
        record = {"model": self.model, "created_at": AT, "message": message, "done": False}
        self.send(json.dumps(record, ensure_ascii=False))

    def misbehave(self, count: int) -> None:
        due = {name for name, value in self.faults.items() if value == str(count)}
        if "line" in self.faults and count == 1:
            for _ in range(int(self.faults["line"]) * 16):
                self.chunk(b"x" * 65536)
        if "garbage" in due:
            self.send('{"message": {')
        if "array" in due:
            self.send("[1, 2]")
        if "error" in due:
            self.send(json.dumps({"error": "the runner\x1b[2J has died"}))
            raise OverError
        if "hang-mid" in due:
            self.wait_until_alone()
        while "blank" in due:
            self.chunk(b"\n\n")
            time.sleep(0.02)
        if due & {"cut", "rst"}:
            self.leave(reset="rst" in due)

    def wait_until_alone(self) -> None:
        self.handler.connection.recv(1)
        say("gone")
        raise OverError

    def leave(self, *, reset: bool) -> None:
        if reset:
            self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.handler.wfile.write(b"ffff\r\n{")
        self.handler.connection.close()
        raise OverError

    def send(self, text: str) -> None:
        data = (text + ("\r\n" if "crlf" in self.faults else "\n")).encode(errors="replace")
        data = gzip.compress(data) if "gzip" in self.faults else data
        for piece in [data[at : at + 1] for at in range(len(data))] if "split" in self.faults else [data]:
            self.chunk(piece)

    def chunk(self, data: bytes) -> None:
        self.handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def tag(name: str) -> dict[str, object]:
    return recorded("tags.json")["models"][0] | {"name": name, "model": name}


def running(name: str) -> dict[str, object]:
    return recorded("ps.json")["models"][0] | {"name": name, "model": name, "size": 4_000_000}


def recorded(name: str) -> dict:
    """The (last) object of what the real one said."""
    return json.loads((DATA / name).read_text().splitlines()[-1])


def say(line: str) -> None:
    print(f"{line}\n", end="", flush=True)  # in one piece: others say something too


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("--models", "demo:latest"), ("--loaded", ""), ("--fault", ""), ("--look", "ok"), ("--to", ""), ("--dump", "")):
        parser.add_argument(name, default=default)
    parser.add_argument("--text", default=TEXT)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    Handler.options = parser.parse_args()
    ThreadingHTTPServer.address_family = socket.AF_INET6 if ":" in Handler.options.host else socket.AF_INET
    server = ThreadingHTTPServer((Handler.options.host, Handler.options.port), Handler)
    say(f"port {server.server_address[1]}")
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
