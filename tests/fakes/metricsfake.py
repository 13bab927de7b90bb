"""
A server that says how full it is, and nothing else. First line on stdout: `port N`.

    metricsfake.py FILE [--host H]      GET /metrics gives the file's text; each {N} in it is N times as often as it was asked
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGES = {"/props": {"build_info": "b1-fake"}, "/v1/models": {"object": "list", "data": [{"id": "demo", "object": "model"}]}}


class Handler(BaseHTTPRequestHandler):
    text = ""
    asked = 0

    def do_GET(self) -> None:
        if self.path == "/metrics":
            Handler.asked += 1
            self.reply(200, re.sub(r"\{(\d+)\}", lambda found: str(int(found[1]) * Handler.asked), Handler.text))
        elif self.path in PAGES:
            self.reply(200, json.dumps(PAGES[self.path]))
        else:
            self.reply(404, "nothing")

    def reply(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    asked = parser.parse_args()
    Handler.text = asked.file.read_text()
    server = ThreadingHTTPServer((asked.host, 0), Handler)
    print("port", server.server_port, flush=True)
    server.serve_forever()


with contextlib.suppress(KeyboardInterrupt):
    main()
