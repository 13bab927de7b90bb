"""
Whether this is a moment to measure in: what else this machine does, how its clocks are set, and whether the server serves others.

    serious   what would be measured is something else: it is refused
    else      it is told, and stands in the report
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import subprocess
from pathlib import Path

import psutil

from synaptic.results import gib, plural

BUSY = 0.25  # of all cores; with more at work something else takes part
SWAPPED = 256 << 20  # bytes; a little is always there
SAMPLE = 0.3  # seconds in which the cores are looked at
SLOW = ("powersave", "conservative")  # governors under which a core may stay slow
DYNAMIC = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")  # drivers whose powersave is no fixed speed
SMI_WITHIN = 5.0
_REASONS = {0x4: "power cap", 0x8: "hardware slowdown", 0x20: "software thermal", 0x40: "hardware thermal", 0x80: "power brake"}


@dataclasses.dataclass(frozen=True)
class Finding:
    what: str
    detail: str
    is_serious: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.detail}"


@dataclasses.dataclass(frozen=True)
class Condition:
    """`busy`: share of all cores. `throttled`: how often a core was, since the system started. `gpus`: why one is slowed now."""

    busy: float
    swap: int
    governors: tuple[str, ...] = ()
    throttled: int = 0
    gpus: tuple[str, ...] = ()


async def look(system: Path = Path("/sys")) -> Condition:
    """Takes a third of a second. `system` is where Linux says how its processors run."""
    return await asyncio.to_thread(_look, system)


def findings(now: Condition, *, others: int = 0, is_loaded: bool | None = None) -> list[Finding]:
    """`others`: answers that the server writes for somebody else. `is_loaded` None: not known."""
    found = []
    if others:
        found.append(Finding("in use", f"{plural(others, 'answer')} of somebody else at the same server", is_serious=True))
    if is_loaded is False:
        found.append(Finding("not loaded", "the server has yet to load the model; the warm-up waits for it"))
    if now.busy > BUSY:
        found.append(Finding("busy", f"{now.busy:.0%} of this machine's processor is at work on something else"))
    if now.swap > SWAPPED:
        found.append(Finding("swap", f"{gib(now.swap)} of this machine's memory are swapped out"))
    if slow := sorted(set(now.governors)):
        found.append(Finding("governor", f"{', '.join(slow)}: this machine's cores may stay slow (cpupower frequency-set -g performance)"))
    return found + [Finding("slowed", f"a GPU of this machine, by {reason}") for reason in now.gpus]


def happened(before: Condition, after: Condition) -> list[Finding]:
    """What changed while it was measured, and belongs in the report."""
    found = []
    if after.throttled > before.throttled:
        found.append(Finding("throttled", f"{plural(after.throttled - before.throttled, 'time')}, a core of this machine was too hot"))
    if after.swap > before.swap + SWAPPED:
        found.append(Finding("swap", f"{gib(after.swap - before.swap)} were swapped out meanwhile"))
    return found + [Finding("slowed", f"a GPU of this machine, by {reason}") for reason in after.gpus if reason not in before.gpus]


def _look(system: Path) -> Condition:
    busy = psutil.cpu_percent(interval=SAMPLE) / 100
    processors = system / "devices" / "system" / "cpu"
    counts = processors.glob("cpu*/thermal_throttle/core_throttle_count")
    return Condition(busy, psutil.swap_memory().used, _slow(processors), sum(map(_number, counts)), _slowed_gpus())


def _slow(processors: Path) -> tuple[str, ...]:
    """Governors under which cores may stay slow; a driver that changes the speed by itself calls that powersave too."""
    found = []
    for folder in processors.glob("cpu*/cpufreq"):
        governor, driver = (_text(folder / name) for name in ("scaling_governor", "scaling_driver"))
        if governor in SLOW and driver not in DYNAMIC:
            found.append(governor)
    return tuple(found)


def _slowed_gpus() -> tuple[str, ...]:
    smi = shutil.which("nvidia-smi")
    if not smi:
        return ()
    words = [smi, "--query-gpu=clocks_throttle_reasons.active", "--format=csv,noheader"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=SMI_WITHIN, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(sorted(set(reasons_of(said))))


def reasons_of(text: str) -> list[str]:
    """The bits of nvidia-smi that mean a slowed clock; being idle is none."""
    found: list[str] = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            bits = int(line.strip(), 16)
            found += [name for bit, name in _REASONS.items() if bits & bit]
    return found


def _number(path: Path) -> int:
    text = _text(path)
    return int(text) if text.isdecimal() else 0


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace").strip()
    return ""
