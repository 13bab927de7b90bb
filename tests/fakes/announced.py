"""
A machine with an rpc-server that announces it: announced.py ADDRESS PORT stay|withdraw [PROGRAM]

Says `ready` once it is announced, or withdrawn again. PROGRAM is a real rpc-server; without it rpcfake.py takes its place.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

from synaptic.discovery.announcer import Announcer
from synaptic.endpoint import Endpoint


async def main(address: str, port: str, how: str, program: str = "") -> None:
    fake = [sys.executable, str(Path(__file__).parent / "rpcfake.py"), "--host", address, "--port", port]
    real = [program, "-H", address, "-p", port, "-t", "1"]
    with subprocess.Popen(real if program else fake, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        while not is_taken(address, int(port)):
            await asyncio.sleep(0.01)
        announcer = Announcer([IPv4Address(address)])
        await announcer.start()
        await announcer.announce("there", "_llama-rpc._tcp.local.", Endpoint(address, int(port)), {})
        if how == "withdraw":
            await announcer.withdraw(Endpoint(address, int(port)))
        print("ready", flush=True)
        await asyncio.Event().wait()


def is_taken(address: str, port: int) -> bool:
    """Asked of the kernel: a connection would take the worker's only place."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return True
    return False


asyncio.run(main(*sys.argv[1:]))
