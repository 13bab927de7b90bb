"""
An Ollama server as far as `/api/pull` goes. First line on stdout: `port N`; then the body of each pull.

    pullfake.py --as good|unknown|cut|no-success|garbage|long|hang|refuse

`hang` sends two steps and then nothing; when the client leaves, it prints `left`.
"""

from __future__ import annotations

import argparse
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from quiet import Quiet

LAYER = {"status": "pulling 8eeb52dfb3bb", "digest": "sha256:8eeb52dfb3bb", "total": 2_000_000}
STEPS = [{"status": "pulling manifest"}, LAYER, LAYER | {"completed": 500_000}, LAYER | {"completed": 2_000_000}]
END = [{"status": "verifying sha256 digest"}, {"status": "writing manifest"}, {"status": "success"}]
# as Ollama 0.12 answers for a name that its registry does not have
UNKNOWN = [{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}]


class Handler(Quiet, BaseHTTPRequestHandler):
    role = ""

    def do_GET(self) -> None:
        pages = {"/api/version": {"version": "0.12.6"}, "/api/tags": {"models": []}, "/api/ps": {"models": []}}
        self.begin(200 if self.path in pages else 404)
        self.wfile.write(json.dumps(pages.get(self.path, {})).encode())

    def do_POST(self) -> None:
        print(self.path, self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.begin(401 if self.role == "refuse" else 200)
        if self.role in ("garbage", "refuse"):
            self.wfile.write(b"<h1>\n")
        elif self.role == "long":
            self.wfile.write(b'{"status": "' + b"x" * (1 << 20) + b'"}\n')
        else:
            self.tell({"good": STEPS + END, "unknown": UNKNOWN, "hang": STEPS[:2]}.get(self.role, STEPS))
        if self.role == "hang":
            self.wait_until_left()

    def begin(self, status: int) -> None:
        self.send_response_only(status)
        if self.role == "cut":
            self.send_header("Content-Length", "100000")
        self.end_headers()

    def tell(self, steps: list[dict[str, object]]) -> None:
        for step in steps:
            self.wfile.write(json.dumps(step).encode() + b"\n")

    def wait_until_left(self) -> None:
        try:
            while True:
                self.wfile.write(b"\n")
                time.sleep(0.02)
        except ConnectionError:
            print("left", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--as", dest="role", default="good")
    Handler.role = parser.parse_args().role
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"port {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
