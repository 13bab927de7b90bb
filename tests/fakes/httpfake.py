"""
HTTP servers that a discovery meets. First line on stdout: `port N`; then each request line.

    httpfake.py --as ollama|llama-server|vllm|plain|redirect|huge|deep|drip|locked|loading|liar|ssh|hang-up [--host H] [--to URL]
"""

from __future__ import annotations

import argparse
import json
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from quiet import Quiet

LLAMA = {"object": "list", "data": [{"id": "demo-q4_0.gguf", "object": "model", "created": 1, "owned_by": "llamacpp"}]}
VLLM = {"object": "list", "data": [{"id": "Qwen/Qwen3-8B", "object": "model", "created": 1, "owned_by": "vllm", "max_model_len": 4096}]}
OLLAMA_MODELS = {"object": "list", "data": [{"id": "llama3.2:latest", "object": "model", "created": 1, "owned_by": "library"}]}
OLLAMA = {"models": [{"name": f"llama3.{number}:latest", "model": "x", "size": 1} for number in range(2, 6)]}
PAGES: dict[str, dict[str, object]] = {
    "ollama": {"/api/version": {"version": "0.13.5"}, "/api/tags": OLLAMA, "/v1/models": OLLAMA_MODELS},
    "llama-server": {"/v1/models": LLAMA, "/api/tags": {"models": [{"name": "demo", "model": "demo"}]}},
    "vllm": {"/v1/models": VLLM, "/version": {"version": "0.32.0"}},
    "liar": {"/api/version": {"version": "\x1b]52;c;ZXZpbA==\x07"}, "/api/tags": {"models": [{"name": "\x1b[2J\u202e"}]}},
}
SERVERS = {"llama-server": "llama.cpp", "loading": "llama.cpp", "vllm": "uvicorn", "plain": "nginx\x1b[31m", "liar": "x"}


class Handler(Quiet, BaseHTTPRequestHandler):
    role = ""
    to = ""

    def do_GET(self) -> None:
        print(self.requestline, flush=True)
        if self.role == "redirect":
            self.reply(302, b"", Location=self.to)
        elif self.role == "huge":
            self.reply(200, b'{"version": "' + b"9" * (8 << 20) + b'"}')
        elif self.role in ("ssh", "hang-up"):
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2 \x1b[2J\r\n" if self.role == "ssh" else b"")
            self.close_connection = True
        elif self.role == "deep":
            self.reply(200, b"[" * 60000)
        elif self.role == "drip":
            self.drip()
        elif self.role in ("locked", "loading"):
            self.reply({"locked": 401, "loading": 503}[self.role], b'{"error": "no"}')
        elif (page := PAGES.get(self.role, {}).get(self.path)) is not None:
            self.reply(200, json.dumps(page).encode())
        else:
            self.reply(404, b"<h1>404</h1>")

    def drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(b" ")
            time.sleep(0.05)

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response_only(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        if server := SERVERS.get(self.role):
            self.send_header("Server", server)
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--as", dest="role", default="plain")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--to", default="")
    options = parser.parse_args()
    Handler.role, Handler.to = options.role, options.to
    ThreadingHTTPServer.address_family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    server = ThreadingHTTPServer((options.host, options.port), Handler)
    print(f"port {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
