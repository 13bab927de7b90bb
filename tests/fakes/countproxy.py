"""
A TCP relay that counts. First line on stdout: `port N`; then, for each line on stdin, `up N down N`: bytes so far.

    countproxy.py --to HOST:PORT
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import threading

counts = {"up": 0, "down": 0}


def relay(source: socket.socket, target: socket.socket, way: str) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 20):
            counts[way] += len(piece)  # one connection at a time is all an rpc-server serves
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def accept(listener: socket.socket, host: str, port: int) -> None:
    while True:
        client, _ = listener.accept()
        server = socket.create_connection((host, port))
        for source, target, way in ((client, server, "up"), (server, client, "down")):
            threading.Thread(target=relay, args=(source, target, way), daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", required=True)
    host, _, port = parser.parse_args().to.partition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(listener, host, int(port)), daemon=True).start()
    print(f"port {listener.getsockname()[1]}", flush=True)
    for _ in sys.stdin:
        print(f"up {counts['up']} down {counts['down']}", flush=True)


if __name__ == "__main__":
    main()
