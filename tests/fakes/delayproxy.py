"""
A cable with a length: passes TCP on to 127.0.0.1:PORT and delays what flows, each way.

    delayproxy.py PORT [--delay MS]      prints "port N", then reads commands from stdin
    delay MS      from now on
    blackhole     what flows is swallowed and nothing is closed: the cable is pulled
    mend          flows again; what was swallowed is lost
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys


class Cable:
    def __init__(self, port: int, delay: float) -> None:
        self.port = port
        self.delay = delay
        self.is_pulled = False

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.transport.abort()
            return
        with contextlib.suppress(asyncio.CancelledError):  # the program ends
            await asyncio.gather(self.flow(reader, back), self.flow(there, writer), return_exceptions=True)

    async def flow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(65536):
                if not self.is_pulled:
                    loop.call_later(self.delay, writer.write, data)
        except OSError:
            writer.transport.abort()
        if not self.is_pulled:
            loop.call_later(self.delay, writer.close)

    def obey(self, line: str) -> None:
        word, _, value = line.strip().partition(" ")
        if word == "delay":
            self.delay = float(value) / 1000
        self.is_pulled = word == "blackhole" or (self.is_pulled and word != "mend")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--delay", type=float, default=0.0)
    asked = parser.parse_args()
    cable = Cable(asked.port, asked.delay / 1000)
    server = await asyncio.start_server(cable.accept, "127.0.0.1", 0)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        cable.obey(line)


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
