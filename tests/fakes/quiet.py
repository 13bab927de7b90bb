"""What HTTP servers here have in common: they write no log, and a client that goes away is no error."""

from __future__ import annotations

import contextlib
from http.server import BaseHTTPRequestHandler


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()
