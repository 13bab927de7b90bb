"""What is installed against what was rendered, and who can reach what has no key. Decisions only."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

from synaptic.deploy.files.builds import RECORDS, expected
from synaptic.deploy.files.rendered import Finding, Rendering
from synaptic.deploy.profile.profile import Monitoring, Profile, is_ip
from synaptic.deploy.reach.installed import Installed
from synaptic.deploy.services.service import Service

KEYLESS = ("llama-rpc", "dllama-worker")  # units
EVERY = ("*", "0.0.0.0", "::")
_HOST = re.compile(r"^ExecStart=.* (?:--host|-H) \"?([^\s\"]+)", re.MULTILINE)


def drift(found: Rendering, at: Installed, told: Monitoring) -> list[Finding]:
    """Files that one machine has not, or has otherwise. Consul's and zeroconf's need not be there unless these are `told`."""
    if at.why:
        return [Finding(at.node, f"cannot be looked at: {at.why}")]
    wrong = []
    for (node, path), name in found.installed().items():
        if node != at.node:
            continue
        if path not in at.sums:
            if not is_optional(path, told):
                wrong.append(Finding(f"{node}:{path}", "is not installed"))
        elif at.sums[path] != found.files[name]:
            wrong.append(Finding(f"{node}:{path}", "is not what was rendered"))
    return wrong


def programs(found: Rendering, at: Installed) -> list[Finding]:
    """Programs that are not the builds that were brought along."""
    name = found.installed().get((at.node, f"/{RECORDS}"))
    if name is None or at.why:
        return []
    try:
        wanted = expected((found.folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return [Finding(name, "does not say which builds there are")]
    return [
        Finding(f"{at.node}:{path}", "is not the build that was recorded") for path, sum_ in wanted.items() if at.sums.get(path) != sum_
    ]


def is_optional(path: str, told: Monitoring) -> bool:
    if path.startswith("/etc/systemd/dnssd/"):
        return not told.zeroconf
    is_consuls = path.startswith(("/etc/consul.d/", "/etc/llama-cluster/consul/")) or "/llama-node-agent." in path
    return is_consuls and not told.consul


def architecture(profile: Profile, at: Installed) -> list[Finding]:
    """Programs that were built for other machines."""
    wanted = profile.nodes[at.node].kind.arch
    return [
        Finding(f"{at.node}:{path}", f"was built for {machine}, and this is {wanted}")
        for path, machine in at.machines.items()
        if machine not in (None, wanted)
    ]


def exposure(at: Installed, services: Sequence[Service]) -> list[Finding]:
    """Ports without a key that strangers can reach, by what the kernel says."""
    own = {port: each.name for each in services if each.node.name == at.node and each.is_keyless for port in each.ports}
    return [
        Finding(f"{at.node}:{own[socket.port]}", f"port {socket.port} {why}: it has no key")
        for socket in at.sockets
        if socket.port in own and (why := open_to_all(socket.address))
    ]


def exposed_units(found: Rendering) -> Iterator[Finding]:
    """The same, by what units say."""
    for (node, path), name in found.installed().items():
        unit = path.rpartition("/")[2].removesuffix(".service")
        if unit in KEYLESS and path.endswith(".service") and (found.folder / name).is_file():
            said = _HOST.search((found.folder / name).read_text(encoding="utf-8", errors="replace"))
            why = open_to_all(said[1]) if said else "listens where its program likes"
            if why:
                yield Finding(f"{node}:{unit}", f"{why}: it has no key")


def open_to_all(address: str) -> str | None:
    """None: an address inside, or a name, which only the machine itself can look up."""
    if address in EVERY or (is_ip(address) and ipaddress.ip_address(address).is_unspecified):
        return "listens on every address"
    if is_ip(address) and ipaddress.ip_address(address).is_global:
        return f"listens on {address}, a public address"
    return None
