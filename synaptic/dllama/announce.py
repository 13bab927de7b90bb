"""
A worker tells the link, by zeroconf, that it is there; only when asked to, and of no address that only this machine has.

Without the zeroconf package it says that nobody is told, and serves all the same.
"""

from __future__ import annotations

import contextlib
import ipaddress
import platform
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zeroconf import Zeroconf

TYPE = "_dllama._tcp.local."
ENGINE = "synaptic"
_VIRTUAL = re.compile(r"^(docker|br-|veth|virbr|vmnet|vboxnet|tun|tap|wg|tailscale|zt|cni|flannel|cali|lxc|lxd|podman|utun)")
_UNFIT = re.compile(r"[^A-Za-z0-9 _()-]+")
_LEAVING = 3.0  # seconds for a goodbye


@contextlib.contextmanager
def announced(host: str, port: int, text: dict[str, str], tell: Callable[[str], None]) -> Iterator[None]:
    """While it is open. `host`: where the worker listens. Registering takes two seconds, in a thread of its own."""
    addresses = reached(host)
    if not addresses:
        tell(f"not announced: nobody else reaches {host}:{port}")
        yield
        return
    opened: list[Zeroconf] = []
    telling = threading.Thread(target=_register, args=(addresses, port, text, tell, opened), daemon=True)
    telling.start()
    try:
        yield
    finally:
        telling.join(_LEAVING)
        for zeroconf in opened:
            zeroconf.close()  # with a goodbye for what it told


def reached(host: str) -> list[ipaddress.IPv4Address]:
    """Private addresses of this machine that the worker listens on; none of loopback, containers and tunnels."""
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        return []
    own = _own_addresses()
    return own if address.is_unspecified else [each for each in own if each == address]


def _own_addresses() -> list[ipaddress.IPv4Address]:
    try:
        import ifaddr  # comes with zeroconf
    except ImportError:
        return []
    found = [
        ipaddress.IPv4Address(each.ip)
        for adapter in ifaddr.get_adapters()
        for each in adapter.ips
        if isinstance(each.ip, str) and not _VIRTUAL.match(adapter.name)
    ]
    return [each for each in found if not (each.is_loopback or each.is_global or each.is_link_local)]


def _register(
    addresses: list[ipaddress.IPv4Address], port: int, text: dict[str, str], tell: Callable[[str], None], opened: list[Zeroconf]
) -> None:
    try:
        from zeroconf import Error, IPVersion, ServiceInfo, Zeroconf
    except ImportError:
        tell("not announced: the zeroconf package is missing   try: python -m pip install zeroconf")
        return
    label = _UNFIT.sub("-", f"{socket.gethostname()} {port}").strip()[:50] or "worker"
    server = f"dllama-{'-'.join(map(str, addresses[0].packed))}-{port}.local."
    told = {"txtvers": "1", "engine": ENGINE, "arch": platform.machine(), "role": "worker"} | text
    packed = [each.packed for each in addresses]
    try:
        zeroconf = Zeroconf(interfaces=[str(each) for each in addresses], ip_version=IPVersion.V4Only)
        opened.append(zeroconf)
        zeroconf.register_service(
            ServiceInfo(TYPE, f"{label}.{TYPE}", port=port, addresses=packed, properties=told, server=server), allow_name_change=True
        )
        tell(f"announced by zeroconf at {', '.join(map(str, addresses))}")
    except (Error, OSError) as error:
        tell(f"not announced: {str(error).lower() or 'zeroconf failed'}")
