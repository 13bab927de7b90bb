"""
A machine beside one that tells of its worker: neighbour.py ADDRESS

Prints that worker's text as JSON once its state is known, announces one of its own, and prints `gone` when the other has.
"""

from __future__ import annotations

import asyncio
import json
import sys
from ipaddress import IPv4Address

from synaptic.discovery.announcements import RPC
from synaptic.discovery.announcer import Announcer
from synaptic.discovery.mdns import browse
from synaptic.endpoint import Endpoint


async def main(address: str) -> None:
    here = [IPv4Address(address)]
    while "st" not in (text := await texts(here)):
        pass
    print(json.dumps(text), flush=True)
    announcer = Announcer(here)
    await announcer.start()
    await announcer.announce("neighbour", RPC, Endpoint(address, 50052), {})
    while await texts(here):
        pass
    print("gone", flush=True)


async def texts(here: list[IPv4Address]) -> dict[str, str]:
    return {
        key: value for service in (await browse(here, [RPC])).services if service.addresses != tuple(here) for key, value in service.text
    }


asyncio.run(main(*sys.argv[1:]))
