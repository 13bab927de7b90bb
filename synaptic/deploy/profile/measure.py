"""What this machine is, for a profile: asked of the system and measured, never looked up."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

import psutil

from synaptic.deploy.profile.accelerators import Accelerator, listed
from synaptic.deploy.profile.bandwidth import read_bandwidth
from synaptic.results import GIB

_RENDER = re.compile(r"(card\d+|renderD\d+|nvidia\d+|accel\d+)\Z")


@dataclasses.dataclass(frozen=True)
class Measured:
    """`bandwidth` in 10^9 byte/s; `devices`: files below /dev that accelerators have; `accelerators`: those that the engine can use."""

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
    accelerators: tuple[Accelerator, ...] = ()


@dataclasses.dataclass(frozen=True)
class Link:
    """From this machine to one address. `bandwidth` in bytes/s towards it; None: not measured."""

    host: str
    rtt_us: float
    bandwidth: float | None = None

    @property
    def gbps(self) -> float | None:
        return None if self.bandwidth is None else round(self.bandwidth * 8 / 1e9, 3)


def measure(engine: Path | None = None) -> Measured:
    """For a second or two, on every core. `engine`: a llama-server, which knows what accelerators it can use."""
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
        accelerators=listed(engine) if engine else (),
    )


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
