"""
dllama-api as a program that misbehaves: `dllamaapi.py FAULT TIMES COUNTER -- the words that dllama-api is given`.

FAULT happens in the first TIMES starts (counted in the file COUNTER), then it is well:
port: it ends as one whose port is taken, after loading. silent: it lists its model, and closes without an answer when
it is asked for one. It writes what it was asked, and the words it was given, to its log.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

LISTED = {"data": [{"created": 0, "id": "fake.m", "object": "model", "owned_by": "user"}], "object": "list"}

TAKEN = "terminate called after throwing an instance of 'std::runtime_error'\n  what():  Cannot bind port: Address already in use"


class Api(BaseHTTPRequestHandler):
    is_silent = False

    def do_GET(self) -> None:
        self.answer(json.dumps(LISTED).encode(), 200 if self.path == "/v1/models" else 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print(f"asked {body.decode()}", flush=True)
        if self.is_silent:
            return
        events = [{"delta": {"content": word}, "finish_reason": ""} for word in ("all", " is", " well")]
        events.append({"finish_reason": "stop"})
        self.answer("".join(f"data: {json.dumps({'choices': [each]})}\r\n\r\n" for each in events).encode() + b"data: [DONE]", 200)

    def answer(self, body: bytes, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    fault, times, counter = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    words = sys.argv[5:]
    start = len(counter.read_text()) if counter.exists() else 0
    print("given", json.dumps(words), flush=True)
    print("💿 Weights loaded", flush=True)
    is_faulty = start < times
    try:
        server = HTTPServer((words[words.index("--host") + 1], int(words[words.index("--port") + 1])), Api)
    except OSError:  # another's, really: that is no fault of this test, and does not count
        sys.exit(TAKEN)
    counter.write_text("x" * (start + 1))
    if fault == "port" and is_faulty:
        sys.exit(TAKEN)
    Api.is_silent = fault == "silent" and is_faulty
    server.serve_forever()


if __name__ == "__main__":
    main()
