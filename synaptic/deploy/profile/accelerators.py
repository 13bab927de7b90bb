"""The accelerators that the engine of this machine can use, as it lists them itself: llama-server --list-devices."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

from synaptic.terminal import one_line

LISTED = "llama-server --list-devices"
WITHIN = 60.0  # seconds; the first use of a driver takes some
BACKENDS = {"CUDA": "cuda", "ROCm": "rocm", "SYCL": "sycl", "Vulkan": "vulkan"}
VENDORS = {"nvidia": r"nvidia|tesla|geforce|quadro|rtx", "amd": r"\bamd\b|radeon|instinct", "intel": r"intel|\barc\b"}
_LINE = re.compile(r"\s+([A-Za-z]+)(\d+): (.+) \((\d+) MiB, \d+ MiB free\)\s*$")


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """`vendor` None: its name does not say."""

    id: str
    model: str
    mem_gib: float
    backend: str
    vendor: str | None


def listed(program: Path) -> tuple[Accelerator, ...]:
    """Empty: there are none, or this build of the engine can use none of them."""
    try:
        said = subprocess.run([program, "--list-devices"], capture_output=True, text=True, errors="replace", timeout=WITHIN, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(filter(None, map(_read, said.stdout.splitlines())))


def _read(line: str) -> Accelerator | None:
    match = _LINE.match(line)
    if match is None or match[1] not in BACKENDS:
        return None
    model = one_line(match[3], 200)
    vendor = next((name for name, words in VENDORS.items() if re.search(words, model, re.IGNORECASE)), None)
    return Accelerator(f"{match[1]}{match[2]}".lower(), model, round(int(match[4]) / 1024, 2), BACKENDS[match[1]], vendor)
