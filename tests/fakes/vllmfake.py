"""
vLLM's server, in its own words. First line on stdout: `port N`; then each request line.

    vllmfake.py [--version V] [--metrics FILE] [--running N] [--waiting N] [--kv F] [--key K] [--model M] [--context N]
                [--health STATUS] [--answer TEXT] [--cut-after N [--abort]] [--refuse busy|context|tokens] [--blind] [--vocabulary N]

What it says was recorded from vLLM 0.32.0. A token is a word of the answer; its number is its place plus `--vocabulary`.
Those of the prompt are 1 to 9. It goes on with whatever answer a prompt of tokens began. --blind: it tells no tokens.
"""

from __future__ import annotations

import argparse
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from quiet import Quiet

PROMPT = list(range(1, 10))
FIRST = 100
REFUSED = {
    "busy": (
        503,
        "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.",
        "Service Unavailable",
        None,
    ),
    "context": (
        400,
        (
            "This model's maximum context length is 512 tokens. However, your prompt contains at least 513 input tokens, which exceeds "
            "this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=513)"
        ),
        "BadRequestError",
        "input_tokens",
    ),
    "tokens": (
        400,
        "max_tokens=6000 cannot be greater than max_model_len=512. Please request fewer output tokens. (parameter=max_tokens, value=6000)",
        "BadRequestError",
        "max_tokens",
    ),
}


class Handler(Quiet, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: argparse.Namespace

    def do_GET(self) -> None:
        print(self.requestline, flush=True)
        card = {"id": self.asked.model, "object": "model", "owned_by": "vllm", "parent": None, "max_model_len": self.asked.context}
        pages = {
            "/version": json.dumps({"version": self.asked.version}).encode(),
            "/health": b"",
            "/v1/models": json.dumps({"object": "list", "data": [card]}).encode(),
            "/metrics": self.metrics().encode(),
        }
        if self.is_locked():
            return
        if self.path not in pages or (self.path == "/version" and not self.asked.version):
            self.reply(404, b'{"detail":"Not Found"}')
        else:
            self.reply(self.asked.health if self.path == "/health" else 200, pages[self.path])

    def do_POST(self) -> None:
        print(self.requestline, flush=True)
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.is_locked():
            return
        if self.path == "/tokenize":
            self.reply(200, json.dumps({"count": 9, "max_model_len": self.asked.context, "tokens": PROMPT, "token_strs": None}).encode())
        elif self.path == "/detokenize":
            self.reply(200, json.dumps({"prompt": "".join(self.words()[self.place(each)] for each in asked["tokens"])}).encode())
        elif asked["model"] != self.asked.model:
            message = f"The model `{asked['model']}` does not exist. Valid aliases: {self.asked.model}."
            self.refuse(404, message, "NotFoundError", "model")
        elif self.asked.refuse:
            self.refuse(*REFUSED[self.asked.refuse])
        else:
            self.answer(asked)

    def answer(self, asked: dict) -> None:
        words, begun = self.words(), asked["prompt"][len(PROMPT) :] if "prompt" in asked else []
        left = words[len(begun) :]
        most = asked.get("max_tokens", 16 if "prompt" in asked else len(left))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        for number, word in enumerate(left[:most]):
            if self.asked.cut_after is not None and number == self.asked.cut_after:
                if self.asked.abort:
                    self.event("choices", [self.choice("", 0, "abort", asked) | {"token_ids": []}])
                self.close_connection = True
                return
            is_last = number + 1 == min(most, len(left))
            reason = ("length" if most < len(left) else "stop") if is_last else None
            self.event("choices", [self.choice(word, FIRST + self.asked.vocabulary + len(begun) + number, reason, asked)])
        prompt = len(asked.get("prompt", PROMPT))
        usage = {"prompt_tokens": prompt, "total_tokens": prompt + len(left[:most]), "completion_tokens": len(left[:most])}
        self.event("choices", [], usage=usage)
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def choice(self, word: str, token: int, reason: str | None, asked: dict) -> dict:
        text = {"delta": {"content": word}} if "messages" in asked else {"text": word}
        ids = {"token_ids": [token]} if asked.get("return_token_ids") and not self.asked.blind else {}
        return {"index": 0, **text, "logprobs": None, "finish_reason": reason, "stop_reason": None, **ids}

    def event(self, name: str, value: object, **more: object) -> None:
        document = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": self.asked.model, name: value, **more}
        self.wfile.write(b"data: " + json.dumps(document).encode() + b"\n\n")

    def words(self) -> list[str]:
        return re.findall(r" ?\S+", self.asked.answer)

    def place(self, token: int) -> int:
        return (token - FIRST - self.asked.vocabulary) % len(self.words())

    def metrics(self) -> str:
        text = Path(self.asked.metrics).read_text() if self.asked.metrics else "# TYPE other gauge\nother 1.0\n"
        for name, value in (("num_requests_running", self.asked.running), ("num_requests_waiting", self.asked.waiting)):
            text = re.sub(rf"^(vllm:{name}\{{.*\}}) .*$", rf"\1 {value:.1f}", text, flags=re.MULTILINE)
        return re.sub(r"^(vllm:(?:kv|gpu)_cache_usage_perc\{.*\}) .*$", rf"\1 {self.asked.kv}", text, flags=re.MULTILINE)

    def is_locked(self) -> bool:
        """As vLLM's: only what is below /v1 wants the key."""
        if not self.asked.key or not self.path.startswith("/v1") or self.headers.get("Authorization") == f"Bearer {self.asked.key}":
            return False
        self.reply(401, b'{"error":"Unauthorized"}')
        return True

    def refuse(self, status: int, message: str, kind: str, parameter: str | None) -> None:
        self.reply(status, json.dumps({"error": {"message": message, "type": kind, "param": parameter, "code": status}}).encode())

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "uvicorn"


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("version", "0.32.0"), ("metrics", ""), ("key", ""), ("model", "tiny"), ("refuse", "")):
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--answer", default="A worker lends its memory and compute to whoever asks.")
    for name, number in (("running", 0), ("waiting", 0), ("context", 512), ("health", 200), ("vocabulary", 0), ("port", 0)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--cut-after", type=int)
    parser.add_argument("--kv", type=float, default=0.0)
    parser.add_argument("--blind", action="store_true")
    parser.add_argument("--abort", action="store_true")
    Handler.asked = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", Handler.asked.port), Handler)
    print(f"port {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
