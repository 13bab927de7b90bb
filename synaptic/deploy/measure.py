"""What this machine is, for a profile: asked of the system and measured, never looked up. And a profile with it written in."""

from __future__ import annotations

import copy
import dataclasses
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from synaptic.deploy.stream import read_bandwidth
from synaptic.errors import UsageError

ASKED, STREAM = "the system", "a stream of reads by every core"
GIB = 1 << 30
_RENDER = re.compile(r"(card\d+|renderD\d+|nvidia\d+|accel\d+)\Z")


@dataclasses.dataclass(frozen=True)
class Measured:
    """`bandwidth` in 10^9 byte/s; `devices`: files below /dev that accelerators have, of which no more is known."""

    arch: str
    cpu: str | None
    cores: int
    mem_gib: float
    bandwidth: float
    distro: str | None
    systemd: int | None
    cgroup: str | None
    devices: tuple[str, ...]
    at: str


def measure() -> Measured:
    """For a second or two, on every core."""
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return Measured(
        arch=platform.machine(),
        cpu=_cpu(),
        cores=cores,
        mem_gib=round(psutil.virtual_memory().total / GIB, 1),
        bandwidth=round(read_bandwidth(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores) / 1e9, 1),
        distro=_distro(),
        systemd=_systemd(),
        cgroup=_cgroup(),
        devices=_devices(),
        at=time.strftime("%Y-%m-%d", time.gmtime()),
    )


def written_into(values: Mapping[str, Any], node: str, found: Measured, *, version: str, rtt_us: float | None) -> str:
    """The profile as YAML, as the next version. Raises UsageError: it has no such node, or that one is of another kind."""
    import yaml

    fresh = copy.deepcopy(dict(values))
    if node not in fresh["nodes"]:
        raise UsageError(f"no node is called {node}", hint=f"one of {', '.join(fresh['nodes'])}")
    kind = fresh["node_classes"][fresh["nodes"][node]["class"]]
    if kind.get("arch", found.arch) != found.arch:
        raise UsageError(f"{node} is {kind['arch']}, and this machine is {found.arch}", hint="run profile probe on the machine itself")
    fresh["version"] = version
    _write_class(kind, found)
    if rtt_us is not None:
        network = fresh.get("services", {}).get("network", next(iter(fresh["networks"])))
        fresh["networks"][network]["rtt_us"] = _number(fresh["networks"][network].get("rtt_us"), rtt_us, "knocks at its workers", found.at)
    return yaml.safe_dump(fresh, sort_keys=False, allow_unicode=True, width=120)


def skeleton(name: str, found: Measured) -> str:
    """A profile of this machine alone: a worker and a head on loopback."""
    import yaml

    kind: dict[str, Any] = {"arch": found.arch}
    _write_class(kind, found)
    return yaml.safe_dump(
        {
            "schema": 1,
            "name": name,
            "version": "0.1",
            "status": "active",
            "about": "this machine alone; add the others",
            "networks": {"lan": {"kind": "loopback", "cidr": "127.0.0.0/8", "gbps": None, "rtt_us": None}},
            "node_classes": {"this-kind": kind},
            "nodes": {"node0": {"class": "this-kind", "addr": {"lan": "127.0.0.1"}}},
            "roles": {"llama_head": "node0", "llama_rpc": ["node0"], "monitoring": ["node0"]},
            "services": {"network": "lan", "models": {"dir": "/srv/models"}, "llama_head": {"model": "/srv/models/model.gguf"}},
        },
        sort_keys=False,
        width=120,
    )


def _write_class(kind: dict[str, Any], found: Measured) -> None:
    cpu = kind.setdefault("cpu", {})
    cpu["model"] = found.cpu or cpu.get("model")
    cpu["cores"] = _number(cpu.get("cores"), found.cores, ASKED, found.at)
    cpu["mem_gib"] = _number(cpu.get("mem_gib"), found.mem_gib, ASKED, found.at)
    cpu["mem_bw_gbs"] = _number(cpu.get("mem_bw_gbs"), found.bandwidth, STREAM, found.at)
    kind["os"] = {"distro": found.distro, "systemd": found.systemd, "cgroup": found.cgroup}


def _number(before: Mapping[str, Any] | None, value: float, source: str, at: str) -> dict[str, Any]:
    """What a specification says stays beside it."""
    spec = {"spec": before["spec"]} if before and before.get("spec") is not None else {}
    return {**spec, "measured": value, "source": source, "at": at}


def _cpu() -> str | None:
    path = Path("/proc/cpuinfo")
    text = path.read_text(errors="replace") if path.exists() else ""
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip()[:200] if found else platform.processor() or None


def _distro() -> str | None:
    try:
        said = platform.freedesktop_os_release()
    except OSError:
        return None
    return f"{said.get('ID', 'linux')}-{said['VERSION_ID']}" if "VERSION_ID" in said else said.get("ID")


def _systemd() -> int | None:
    program = shutil.which("systemctl")
    if not program:
        return None
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    found = re.match(r"systemd (\d+)", said)
    return int(found[1]) if found else None


def _cgroup() -> str | None:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "v2"
    return "v1" if Path("/sys/fs/cgroup/memory").exists() else None


def _devices() -> tuple[str, ...]:
    folders = [folder for folder in map(Path, ("/dev", "/dev/dri", "/dev/accel")) if folder.is_dir()]
    return tuple(sorted(str(path) for folder in folders for path in folder.iterdir() if _RENDER.match(path.name)))
