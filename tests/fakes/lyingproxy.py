"""
Stands before a real rpc-server and spoils what it computes: of every tensor that is read back, some signs are flipped.

    lyingproxy.py --to HOST:PORT [--every N]      prints "port N"; the N-th float of each result, and so on, changes its sign

A request is a byte, a length of 8 bytes, and so many bytes; a reply is a length and so many bytes. Everything comes in
order, so the commands that are answered tell which reply is the content of a tensor.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import socket
import struct
import threading

GET_TENSOR = 8
SILENT = {4, 5, 6, 10, 12, 16, 17}  # commands without a reply
FLOAT = 4


def exactly(source: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = source.recv(min(1 << 20, count - len(data)))
        if not piece:
            raise ConnectionError
        data += piece
    return bytes(data)


def up(client: socket.socket, server: socket.socket, asked: queue.SimpleQueue[int]) -> None:
    with contextlib.suppress(OSError):
        while True:
            head = exactly(client, 9)
            command, size = struct.unpack("<BQ", head)
            if command not in SILENT:
                asked.put(command)
            server.sendall(head + exactly(client, size))
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_WR)


def down(server: socket.socket, client: socket.socket, asked: queue.SimpleQueue[int], every: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            head = exactly(server, 8)
            body = bytearray(exactly(server, struct.unpack("<Q", head)[0]))
            if asked.get() == GET_TENSOR:
                for place in range(FLOAT - 1, len(body), FLOAT * every):
                    body[place] ^= 0x80
            client.sendall(head + body)
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_WR)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", required=True)
    parser.add_argument("--every", type=int, default=5)
    options = parser.parse_args()
    host, _, port = options.to.partition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"port {listener.getsockname()[1]}", flush=True)
    while True:
        client, _ = listener.accept()
        try:
            server = socket.create_connection((host, int(port)))
        except OSError:
            client.close()
            continue
        asked: queue.SimpleQueue[int] = queue.SimpleQueue()
        threading.Thread(target=up, args=(client, server, asked), daemon=True).start()
        threading.Thread(target=down, args=(server, client, asked, options.every), daemon=True).start()


if __name__ == "__main__":
    main()
