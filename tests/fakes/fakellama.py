#!/usr/bin/env python3
"""
A llama-server that needs no model, and misbehaves on request: llama_faults.py says how.

It takes llama-server's own arguments (the ones it does not know are passed over) and logs to stderr what the real one
logs at -lv 4. Without LLAMA_API_KEY it also prints `port N` as its first line on stdout.
"""

from __future__ import annotations

import http.server
import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

from llama_answer import Reply
from llama_faults import ABORTED, FAKE, LOST, abort, number, setting

LAYERS = 4
BEGAN = time.monotonic()


def argument(name: str, default: str = "") -> str:
    words = sys.argv[1:]
    return words[words.index(name) + 1] if name in words[:-1] else default


def log(line: str) -> None:
    micros = int((time.monotonic() - BEGAN) * 1e6)
    stamp = f"{micros // 60_000_000}.{micros // 1_000_000 % 60:02}.{micros // 1000 % 1000:03}.{micros % 1000:03}"
    print(f"{stamp} {line}", file=sys.stderr, flush=True)


def main() -> None:
    if "--version" in sys.argv:
        print("version: 11434 (fake)", file=sys.stderr)
        return
    listen_to_signals()
    write_facts()
    if "refuse_worker" in FAKE:
        abort(ABORTED.format(456, f"Failed to connect to {(workers() or ['127.0.0.1:50222'])[0]}"))
    log("I srv  llama_server: initializing ...")
    if "no_memory" in FAKE:
        for worker in workers():
            log(f"D load_tensors: RPC0[{worker}] model buffer size =  1024.00 MiB")
        log("E ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 1099511627776")
        raise SystemExit(1)
    if "abort_s" in FAKE:
        time.sleep(number("abort_s"))
        abort(LOST)
    if "exit" in FAKE:
        log("E srv  llama_server: exiting due to model loading error")
        raise SystemExit(int(number("exit", 1)))
    time.sleep(number("bind_s"))
    server = Server((argument("--host", "127.0.0.1"), int(argument("--port", "0"))), Handler)
    if "LLAMA_API_KEY" not in os.environ:
        print(f"port {server.server_port}", flush=True)
    threading.Thread(target=load, args=(server,), daemon=True).start()
    server.serve_forever()


def listen_to_signals() -> None:
    heard = 0

    def on_term(*_: object) -> None:
        nonlocal heard
        heard += 1
        if heard > number("ignore_term", float("inf") if "ignore_term" in FAKE else 0):
            os._exit(0)

    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGINT, on_term)
    bound = threading.Timer(300, os._exit, (0,))  # nobody is left behind for ever
    bound.daemon = True
    bound.start()


def write_facts() -> None:
    if not (path := setting("FAKE_LOG")):
        return
    deadline = time.monotonic() + 0.5
    while resource.getrlimit(resource.RLIMIT_CORE)[0] and time.monotonic() < deadline:
        time.sleep(0.01)  # the core limit is set right after the start
    descriptors = sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1]  # the last one lists the folder
    key = os.environ.get("LLAMA_API_KEY")
    facts = {
        "pid": os.getpid(),
        "sid": os.getsid(0),
        "stdin": os.readlink("/proc/self/fd/0"),
        "descriptors": descriptors,
        "cwd": str(Path.cwd()),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "argv": sys.argv,
        "has_key": key is not None,
        "key_in_argv": bool(key) and any(key in word for word in sys.argv),
        "variables": sorted(os.environ),
    }
    Path(path).write_text(json.dumps(facts))


def workers() -> list[str]:
    return [worker for worker in argument("--rpc").split(",") if worker]


def load(server: Server) -> None:
    log(f"I srv    load_model: loading model '{argument('-m')}'")
    if "never_ready" in FAKE:
        return
    time.sleep(number("load_s"))
    for line in placement():
        log(f"I {line}")
    server.is_loaded = True
    log("I srv  llama_server: model loaded")
    log(f"I srv  llama_server: listening on http://127.0.0.1:{server.server_port}")


def placement() -> list[str]:
    """The lines that say what each device holds, as for the demo model."""
    spread = [] if "no_offload" in FAKE else [f"RPC0[{worker}]" for worker in workers()]
    shares = [LAYERS // len(spread) + (index < LAYERS % len(spread)) for index in range(len(spread))]
    units = LAYERS + 1 if spread else 0
    lines = [f"load_tensors: offloaded {units}/{LAYERS + 1} layers to GPU"]
    lines.append(f"load_tensors:   CPU_Mapped model buffer size = {0.38 if spread else 1.55:8.2f} MiB")
    lines += [f"load_tensors: {name} model buffer size = {0.29 * n:8.2f} MiB" for name, n in zip(spread, shares, strict=True)]
    caches = [(name, n) for name, n in zip(spread, shares, strict=True) if n] or [("       CPU", LAYERS)]
    lines += [f"llama_kv_cache: {name} KV buffer size = {0.25 * n:8.2f} MiB" for name, n in caches]
    cells = int(argument("-c", "512"))
    lines.append(
        f"llama_kv_cache: size =    1.00 MiB ({cells:6} cells, {LAYERS:3} layers,  1/1 seqs), K (f16):    0.50 MiB, V (f16):    0.50 MiB"
    )
    buffers = [*((name, 7.29) for name in spread), ("       CPU", 4.55)]
    return lines + [f"sched_reserve: {name} compute buffer size = {size:8.2f} MiB" for name, size in buffers]


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    is_loaded = False

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.slot = threading.Lock()  # one answer at a time, as with -np 1

    def handle_error(self, *_: object) -> None:
        """A client that leaves is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        """Nothing: stderr is the log."""

    def do_GET(self) -> None:
        if self.path == "/health" and self.server.is_loaded:
            self.reply(200, {"status": "ok"})
        elif not self.server.is_loaded:
            self.refuse(503, "Loading model", "unavailable_error")
        elif self.is_known():
            documents = {
                "/v1/models": {"object": "list", "data": [{"id": argument("--alias", "fake"), "object": "model"}]},
                "/slots": [{"id": 0, "is_processing": self.server.slot.locked()}],
            }
            if self.path in documents:
                self.reply(200, documents[self.path])
            else:
                self.refuse(404, "File Not Found", "not_found_error")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if not self.server.is_loaded:
            self.refuse(503, "Loading model", "unavailable_error")
        elif not self.is_known():
            return
        elif self.path != "/v1/chat/completions":
            self.refuse(404, "File Not Found", "not_found_error")
        elif "status" in FAKE:
            self.refuse(int(number("status")), "as you wish\x1b[2J", "fake_error", Location="/elsewhere")
        else:
            prompt = sum(len(message["content"].split()) for message in asked["messages"])
            context = int(argument("-c", "4096"))
            if prompt > context:
                sizes = {"n_prompt_tokens": prompt, "n_ctx": context}
                self.refuse(400, f"request ({prompt} tokens) exceeds the available context size", "exceed_context_size_error", sizes)
            else:
                with self.server.slot:
                    Reply(self, asked, prompt).run()

    def is_known(self) -> bool:
        key = os.environ.get("LLAMA_API_KEY")
        if key and self.headers.get("Authorization") != f"Bearer {key}":
            self.refuse(401, "Invalid API Key", "authentication_error")
            return False
        return True

    def refuse(self, status: int, message: str, kind: str, more: dict[str, int] | None = None, **headers: str) -> None:
        self.reply(status, {"error": {"code": status, "message": message, "type": kind, **(more or {})}}, **headers)

    def reply(self, status: int, document: object, **headers: str) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


main()
