"""A child that behaves as its arguments say. It prints `ready` when it serves.

--die-at-start   prints its last words and exits with 3
--hang           never gets ready, and says nothing
--deaf           ignores SIGTERM
--deaf-once      ignores the first SIGTERM, as a frozen llama-server does
--abort-on-usr1  prints its last words and aborts
--facts FILE     writes what it inherited as JSON
--grandchild     starts a process of its own
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path


def facts() -> dict[str, object]:
    return {
        "sid": os.getsid(0),
        "stdin": os.readlink("/proc/self/fd/0"),
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],  # the last one lists the folder
        "cwd": str(Path.cwd()),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "argv": sys.argv,
        "variables": dict(os.environ),
        "sigpipe_ignored": bool(int(_status("SigIgn"), 16) >> (signal.SIGPIPE - 1) & 1),
    }


def _status(field: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(field))


def abort(*_: object) -> None:
    print("ggml-rpc.cpp:1: Remote RPC server crashed or returned malformed response", flush=True)
    os.kill(os.getpid(), signal.SIGABRT)


def main() -> None:
    flags = set(sys.argv[1:])
    heard = 0

    def on_term(*_: object) -> None:
        nonlocal heard
        heard += 1
        if "--deaf" not in flags and (heard > 1 or "--deaf-once" not in flags):
            sys.exit(0)

    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGUSR1, abort)
    if "--facts" in flags:
        time.sleep(0.2)  # the core limit is set right after the start
        Path(sys.argv[sys.argv.index("--facts") + 1]).write_text(json.dumps(facts()))
    if "--grandchild" in flags:
        print("grandchild", subprocess.Popen(["sleep", "1000"]).pid, flush=True)
    if "--die-at-start" in flags:
        print("failed to load\nFailed to connect to 127.0.0.1:50222", flush=True)
        sys.exit(3)
    if "--hang" not in flags:
        print("ready", flush=True)
    for _ in range(10_000):  # bounded: nobody is left behind for ever
        time.sleep(0.05)


main()
