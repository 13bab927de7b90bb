"""One streamed answer of the llama-server stand-in, with the faults it is asked for."""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from http.server import BaseHTTPRequestHandler

from llama_faults import FAKE, LOST, abort, number, setting

SENTENCE = "A worker is a small server process on a machine that lends its memory and compute."
ESCAPES = "[/INST] list[str] \x1b]52;c;ZXZpbA==\x07 \x9b31m \u202eabc \x00 a\rb \x1b[2J ü€😀"


class OverError(Exception):
    """Nothing more is said."""


class Reply:
    """One answer, with its faults."""

    def __init__(self, handler: BaseHTTPRequestHandler, asked: dict, prompt: int) -> None:
        self.handler = handler
        self.asked = asked
        self.prompt = prompt
        self.end = "\r\n" if "crlf" in FAKE else "\n"
        text = setting("FAKE_TEXT") or (ESCAPES if "escapes" in FAKE else SENTENCE)
        self.tokens = re.findall(r"\s*\S+|\s+\Z", text * int(number("repeat", 1)))[: asked.get("max_tokens") or None]
        self.began = time.monotonic()

    def run(self) -> None:
        if not self.asked.get("stream"):
            message = {"role": "assistant", "content": "".join(self.tokens)}
            self.handler.reply(200, {"choices": [{"index": 0, "message": message, "finish_reason": self.reason}], **self.sums})
            return
        if number("lose_worker", 1) == 0:
            abort(LOST)
        self.handler.send_response(200)
        self.handler.send_header("Content-Type", "text/event-stream")
        self.handler.send_header("Transfer-Encoding", "chunked")
        self.handler.end_headers()
        try:
            self.stream()
        except (ConnectionError, OverError):
            self.handler.close_connection = True

    @property
    def reason(self) -> str:
        return "length" if len(self.tokens) == self.asked.get("max_tokens") else "stop"

    @property
    def sums(self) -> dict[str, object]:
        count = len(self.tokens)
        milliseconds = max((time.monotonic() - self.began) * 1000, 0.001)
        return {
            "usage": {"prompt_tokens": self.prompt, "completion_tokens": count, "prompt_tokens_details": {"cached_tokens": 0}},
            "timings": {"prompt_n": self.prompt, "predicted_n": count, "predicted_per_second": count / milliseconds * 1000},
        }

    def stream(self) -> None:
        self.piece({"role": "assistant", "content": None})
        for word in ("Let me", " think.") if "reasoning" in FAKE else ():
            self.piece({"reasoning_content": word})
        for count, token in enumerate(self.tokens):
            self.misbehave(count)
            time.sleep(number("delay_ms") / 1000)
            self.piece({"content": token})
        self.misbehave(len(self.tokens))
        if "no_done" not in FAKE:
            self.finish()
        self.write(b"")

    def finish(self) -> None:
        if "no_finish" not in FAKE:
            self.piece({}, self.reason)
        if "linger" in FAKE:
            self.wait_until_alone()
        if "end_at_finish" in FAKE:
            return
        if self.asked.get("stream_options", {}).get("include_usage") and "plain" not in FAKE:
            self.event(json.dumps({"choices": [], **self.sums}))
        self.send("data: [DONE]" + ("" if "no_newline" in FAKE else self.end * 2))

    def misbehave(self, count: int) -> None:
        due = {name for name in FAKE if (name.endswith("_after") or name == "lose_worker") and number(name) == count}
        if "bad_json_after" in due:
            self.event('{"choices": [')
        if "big_line" in FAKE and count == 1:
            self.event("x" * int(number("big_line", 2) * 1024 * 1024))
        if "error_after" in due:
            self.event(json.dumps({"error": {"code": 500, "message": "the graph failed\x1b[2J", "type": "server_error"}}))
            raise OverError
        if due & {"abort_after", "lose_worker"}:
            abort(LOST if "lose_worker" in due else "")
        if "stall_after" in due:
            self.wait_until_alone()
        while "ping_after" in due:
            self.send(f": ping{self.end * 2}")
            time.sleep(0.02)
        if due & {"cut_after", "rst_after"}:
            self.leave(reset="rst_after" in due)

    def wait_until_alone(self) -> None:
        self.handler.connection.recv(1)
        raise OverError

    def leave(self, *, reset: bool) -> None:
        if reset:
            self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.handler.connection.close()
        raise OverError

    def piece(self, delta: dict, reason: str | None = None) -> None:
        text = json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}, ensure_ascii=False)
        self.event(text[1:] if "bad_json" in FAKE else text)

    def event(self, data: str) -> None:
        self.send(f"data: {data}{self.end * 2}")

    def send(self, text: str) -> None:
        data = text.encode()
        for piece in [data[at : at + 1] for at in range(len(data))] if "split_utf8" in FAKE else [data]:
            self.write(piece)

    def write(self, data: bytes) -> None:
        self.handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
