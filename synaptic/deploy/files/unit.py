"""
Templates → units.

    {{name}}    a value, or several lines; a line of which one is missing is left out
    gate        a directive that the machine's systemd does not know yet is left out, or said in the older way
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from synaptic.deploy.files import escape
from synaptic.deploy.profile.profile import Device, Profile, is_ip
from synaptic.deploy.services.service import Service
from synaptic.shipped import shipped

NEWEST = 999  # a systemd that is not known is taken as current
SINCE = {  # systemd.exec, .service, .resource-control: "Added in version …"
    "Type=exec": 240,
    "PrivateMounts": 239,
    "ProtectHostname": 242,
    "RestrictSUIDSGID": 242,
    "OOMPolicy": 243,
    "ProtectKernelLogs": 244,
    "ProtectClock": 245,
    "LoadCredential": 247,
    "ProtectProc": 247,
    "SocketBindAllow": 249,
    "SocketBindDeny": 249,
}
OLDER = {"Type=exec": "Type=simple"}
_PLACE = re.compile(r"\{\{(\w+)\}\}")
_DEVICES = {"nvidia": ("char-nvidia*",), "amd": ("/dev/kfd", "char-drm"), "intel": ("char-drm",)}


def unit(profile: Profile, service: Service) -> str:
    """Raises UsageError for a value that a unit cannot say."""
    systemd = service.node.kind.systemd or NEWEST
    is_vllm = service.role.startswith("vllm")
    devices = service.node.kind.devices if is_vllm else service.node.kind.accelerators
    has_credentials = systemd >= SINCE["LoadCredential"]
    values: dict[str, str | None] = {
        "label": escape.comment(profile.label),
        "name": service.name,
        "node": escape.comment(service.node.name),
        "port": str(service.ports[0]) if service.ports else None,
        "user": escape.line(profile.services.user),
        "command": _command(service, has_credentials),
        "environment": _block(f"Environment={escape.assignment(*each)}" for each in service.environment.items()),
        "environment_file": f"EnvironmentFile={escape.line(service.environment_file)}" if service.environment_file else None,
        "credentials": _block(f"LoadCredential={name}:{escape.line(path)}" for name, path in service.credentials.items()),
        "mounts": f"RequiresMountsFor={escape.path(profile.services.models_dir)}" if service.model else None,
        "after": " ".join(service.beside),
        "part_of": f"PartOf={' '.join(service.beside)}" if service.beside else None,
        "start_within": f"TimeoutStartSec={service.load_seconds:.0f}" if service.load_seconds and service.load_seconds > 90 else None,
        "memory": _memory(service),
        "hardening": hardening(
            profile,
            service.ports,
            devices,
            is_compiled=is_vllm,
            is_keyed="api-key" in service.credentials or service.has_key,
        ),
        **{name: escape.comment(text) for name, text in service.notes.items()},
    }
    return gated(fill(template("tls-front.service" if service.is_front else f"{service.name}.service"), values), systemd)


def hardening(
    profile: Profile,
    ports: Sequence[int],
    devices: Sequence[Device],
    *,
    is_compiled: bool = False,
    asks_kernel: bool = False,
    is_keyed: bool = False,
) -> str:
    """
    What a service may not do.

    `is_compiled`: it makes code while it runs, and chooses ports; `asks_kernel`: of sockets and processes; `is_keyed`: it has a
    key, so it may be reached from outside the cluster.
    """
    cidr = profile.network.cidr
    kinds = dict.fromkeys(rule for device in devices for rule in _DEVICES[device.vendor])
    if profile.network.kind == "infiniband":
        kinds["char-infiniband_verbs"] = None
    groups = "SupplementaryGroups=video render" if any(device.vendor != "nvidia" for device in devices) else None
    rules = [*(f"DeviceAllow={kind} rw" for kind in kinds), *([groups] if groups else [])]
    values = {
        "protect_home": "read-only" if _is_in_a_home(profile.services.models_dir) else "yes",
        "private_devices": "no" if kinds else "yes",
        "processes": "default" if asks_kernel else "invisible",
        "devices": _block(["DevicePolicy=closed", *rules]) if kinds else None,
        "families": "AF_INET AF_INET6 AF_UNIX AF_NETLINK" if is_compiled or kinds or asks_kernel else "AF_INET AF_INET6 AF_UNIX",
        "no_new_code": "no" if kinds or is_compiled else "yes",
        "reach": f"IPAddressDeny=any\nIPAddressAllow={cidr} localhost" if cidr and _all_inside(profile) and not is_keyed else None,
        "binds": None if is_compiled else "\n".join(["SocketBindDeny=any", *(f"SocketBindAllow=tcp:{port}" for port in ports)]),
    }
    return fill(template("hardening.inc"), values).rstrip("\n")


def fill(text: str, values: Mapping[str, str | None]) -> str:
    """KeyError for a name that is not among `values`: a template and its code have parted."""
    lines = []
    for line in text.splitlines():
        if all(values[name] is not None for name in _PLACE.findall(line)):
            lines.append(_PLACE.sub(lambda found: values[found[1]] or "", line).rstrip())
    return "\n".join(lines) + "\n"


def gated(text: str, systemd: int) -> str:
    """Without what came after this version of systemd."""
    lines = [line for line in text.splitlines() if _since(line) <= systemd or line in OLDER]
    return "\n".join(OLDER[line] if line in OLDER and _since(line) > systemd else line for line in lines) + "\n"


def template(name: str) -> str:
    return shipped("deploy", "systemd", name).read_text(encoding="utf-8")


def _since(line: str) -> int:
    return SINCE.get(line, SINCE.get(line.partition("=")[0], 0))


def _command(service: Service, has_credentials: bool) -> str:
    """systemd hands credentials over in a folder of its own, which only it can name."""
    own = {path: f"${{CREDENTIALS_DIRECTORY}}/{name}" for name, path in service.credentials.items()} if has_credentials else {}
    return escape.exec_line(service.words, own)


def _memory(service: Service) -> str | None:
    """Slowed down first, and ended an eighth above that."""
    if service.memory is None:
        return None
    return f"MemoryHigh={service.memory}\nMemoryMax={service.memory + service.memory // 8}"


def _all_inside(profile: Profile) -> bool:
    """Names are looked up, perhaps by asking a server outside: then only the firewall keeps strangers away."""
    return all(is_ip(profile.address(node)) for node in profile.nodes.values() if profile.services.network in node.addresses)


def _is_in_a_home(folder: str) -> bool:
    """Where ProtectHome= would hide it."""
    return PurePosixPath(folder).parts[1:2] in (("home",), ("root",))


def _block(lines: Iterable[str]) -> str | None:
    return "\n".join(lines) or None
