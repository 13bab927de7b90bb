"""
A web server with one file, and with faults. First line on stdout: `port N`; then each request: `PATH RANGE IF-RANGE`.

    fileserver.py --file F [--then F2]        F2 from the second request on, with another ETag
                  [--cut N]                   the connection ends after N bytes of the first body
                  [--claim N]                 Content-Length says N
                  [--no-ranges] [--no-validator] [--weak] [--gzip] [--digest TEXT] [--status N (first request only)]
                  [--hold N]                  send N bytes, then nothing more until stdin says something

Paths: /NAME.gguf is the file; /hop/N/NAME leads there over N redirections; /to/URL leads to that URL.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from quiet import Quiet


class Handler(Quiet, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    options: argparse.Namespace
    asked = 0

    def do_GET(self) -> None:
        print(self.path, self.headers.get("Range", "-"), self.headers.get("If-Range", "-"), flush=True)
        if hop := re.fullmatch(r"/hop/(\d+)/(.+)", self.path):
            return self.lead(f"/hop/{int(hop[1]) - 1}/{hop[2]}" if int(hop[1]) > 1 else f"/{hop[2]}")
        if away := re.fullmatch(r"/to/(.+)", self.path):
            return self.lead(unquote(away[1]))
        Handler.asked += 1
        if self.options.status and Handler.asked == 1:
            return self.answer(self.options.status, b"", {})
        self.send_file(Path(self.options.then if self.options.then and Handler.asked > 1 else self.file()).read_bytes())
        return None

    def file(self) -> str:
        beside = Path(self.options.file).with_name(self.path.rpartition("/")[2])
        return str(beside if beside.exists() else self.options.file)

    def send_file(self, data: bytes) -> None:
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        headers = {} if self.options.no_validator else {"ETag": f"W/{tag}" if self.options.weak else tag}
        if self.options.digest:
            headers["Repr-Digest"] = self.options.digest
        if self.options.gzip:
            headers["Content-Encoding"] = "gzip"
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        is_same = self.headers.get("If-Range", tag) == tag
        if wanted is None or self.options.no_ranges or not is_same:
            return self.answer(200, data, headers)
        start = int(wanted[1])
        if start >= len(data):
            return self.answer(416, b"", headers | {"Content-Range": f"bytes */{len(data)}"})
        return self.answer(206, data[start:], headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", str(self.options.claim or len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.options.hold:
            self.wfile.write(body[: self.options.hold])
            self.wfile.flush()
            sys.stdin.readline()
        if self.options.cut and Handler.asked == 1:
            self.wfile.write(body[: self.options.cut])
            self.close_connection = True
        else:
            self.wfile.write(body[self.options.hold :])
            self.close_connection = bool(self.options.claim)

    def lead(self, location: str) -> None:
        self.send_response_only(302)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    parser = argparse.ArgumentParser()
    for text in ("file", "then", "digest"):
        parser.add_argument(f"--{text}")
    for number in ("cut", "claim", "status", "hold"):
        parser.add_argument(f"--{number}", type=int, default=0)
    for switch in ("no-ranges", "no-validator", "weak", "gzip"):
        parser.add_argument(f"--{switch}", action="store_true")
    Handler.options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"port {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
