"""
A distributed-llama worker, as fragile as the real one: any connection that is not a complete session ends it.

First line on stdout: `port N`. Then `session N complete` for each, or `died: WHY` and exit code 1. Written from
facts about the protocol alone, not with synaptic.dllama. --api: dllama-api instead, which dies of a connection that
ends before its request. --mode: wrong-ack, silent, hang-up (after the hello), slow (says `greeted`, then waits 0.3 s
before each acknowledgement).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import struct
import time

ACK = bytes.fromhex("aaaa6701")
MODELS = (
    b'{"data":[{"created":0,"id":"demo-q40.m","object":"model","owned_by":"user"}],"object":"list"}',
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
)


class DeathError(Exception):
    pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api", action="store_true")
    parser.add_argument("--mode", default="ok", choices=["ok", "wrong-ack", "silent", "hang-up", "slow"])
    options = parser.parse_args()
    listener = socket.create_server((options.host, options.port), family=socket.AF_INET6 if ":" in options.host else socket.AF_INET)
    print(f"port {listener.getsockname()[1]}", flush=True)
    number = 0
    while True:
        connection, _ = listener.accept()
        number += 1
        with connection:
            try:
                (answer if options.api else serve)(connection, options.mode)
            except (DeathError, OSError) as error:
                print(f"died: {error}", flush=True)
                os._exit(1)
        print(f"session {number} complete", flush=True)


def serve(connection: socket.socket, mode: str) -> None:
    def acknowledge() -> None:
        time.sleep(0.3 if mode == "slow" else 0)
        connection.sendall(bytes(4) if mode == "wrong-ack" else ACK)

    workers, index = struct.unpack("<II", read(connection, 8))
    if (workers, index) != (1, 0):
        raise DeathError(f"hello of {workers} workers, index {index}")
    if mode == "slow":
        print("greeted", flush=True)
    if mode == "hang-up":
        return
    if mode == "silent":
        read(connection, 1)
    acknowledge()
    expect_ack(connection)  # the root is ready
    expect_ack(connection)
    batches, nodes, pipes = struct.unpack("<III", read(connection, 12))
    if not (batches and nodes and pipes):
        raise DeathError("a network of nothing")
    for _ in range(pipes):
        read_sized(connection)
    (syncs,) = struct.unpack("<I", read(connection, 4))
    read(connection, 4 * syncs)
    acknowledge()
    expect_ack(connection)
    if struct.unpack("<III", read(connection, 12)) != (0, 0, 0):
        raise DeathError("this fake takes an empty node only")
    acknowledge()
    if struct.unpack("<I", read(connection, 4)) != (0,):
        raise DeathError("this fake takes no weights")
    acknowledge()
    try:
        _, batch = struct.unpack("<II", read(connection, 8))
    except (DeathError, OSError):
        return  # after the weights a worker survives that
    if batch:
        raise DeathError("this fake computes nothing")


def read_sized(connection: socket.socket) -> None:
    _, z, y, x, length, size, _ = struct.unpack("<iIIIQQQ", read(connection, 40))
    if length != z * y * x or size < length:
        raise DeathError(f"a pipe of {length} numbers in {size} bytes")
    (name,) = struct.unpack("<I", read(connection, 4))
    if read(connection, name)[-1:] != b"\0":
        raise DeathError("a name without an end")


def answer(connection: socket.socket, mode: str) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += read(connection, 1)
    found = received.startswith(b"GET /v1/models ")
    with contextlib.suppress(OSError):  # a client that left after its request does no harm
        connection.sendall(MODELS[1] % (len(MODELS[0]), MODELS[0]) if found else b"HTTP/1.1 404 Not Found\r\n\r\nNot Found")


def expect_ack(connection: socket.socket) -> None:
    if (received := read(connection, 4)) != ACK:
        raise DeathError(f"invalid ack {received.hex()}")


def read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise DeathError("socket closed")
        data += chunk
    return data


if __name__ == "__main__":
    main()
