"""
Another program that uses the same settings file.

    settings_writer.py PATH add HOST COUNT                 adds HOST:1 … HOST:COUNT, saving each by itself
    settings_writer.py PATH set KEY VALUE [--die-at N]     saves one key
    settings_writer.py PATH load [--die-at N]              only starts

With --die-at it kills itself right before its Nth call that changes something on disk; when there are fewer, it ends well.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from synaptic.endpoint import Endpoint
from synaptic.settings import Settings

CHANGES = {"open", "mkdir", "flock", "write", "flush", "fsync", "fchmod", "fchown", "chmod", "replace", "rename", "unlink", "close"}


def die_at(step: int) -> None:
    """`setprofile` sees every C function before it runs: open, write, fsync, rename, …"""
    calls = 0

    def count(frame: object, event: str, function: object) -> None:
        nonlocal calls
        if event == "c_call" and getattr(function, "__name__", "") in CHANGES:
            calls += 1
            if calls == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("verb", choices=("add", "set", "load"))
    parser.add_argument("words", nargs="*")
    parser.add_argument("--die-at", type=int, default=0)
    asked = parser.parse_args()
    if asked.die_at and asked.verb == "load":
        die_at(asked.die_at)
    settings = Settings.load(asked.path, {})
    if asked.die_at:
        die_at(asked.die_at)
    if asked.verb == "add":
        host, count = asked.words
        for port in range(1, int(count) + 1):
            settings.add_backends([Endpoint(host, port)])
    elif asked.verb == "set":
        key, text = asked.words
        settings.save(**{key: settings.parse(key, text)})
    sys.setprofile(None)


if __name__ == "__main__":
    main()
