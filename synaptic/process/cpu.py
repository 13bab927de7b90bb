"""A short name for what this processor can do: a program built for it may crash on another one."""

from __future__ import annotations

import hashlib
import itertools
import platform
import re
import subprocess
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # Linux
# what a compiler asked for "this machine" makes use of; the other flags come and go with the kernel's version
_INSTRUCTIONS = re.compile(r"(s?sse|avx|fma|f16c|bmi|abm|movbe|popcnt|amx|gfni|vaes|asimd|sve|sme|i8mm|bf16|fphp)")
_MODEL = re.compile(r"(model name|CPU implementer|CPU part|cpu|isa|uarch)\s*:")
_FLAGS = re.compile(r"(flags|Features)\s*:\s*(.*)")


@cache
def processor_stamp() -> str:
    """Eight hexadecimal digits, the same on every machine with the same processor."""
    return stamp_of(platform.machine(), _description())


def stamp_of(machine: str, description: str) -> str:
    """`description`: the first processor of /proc/cpuinfo, or whatever else the system says of it."""
    lines = description.splitlines()
    model = [line for line in lines if _MODEL.match(line)] or [line for line in lines if not _FLAGS.match(line)]
    flags = [flag for line in lines if (match := _FLAGS.match(line)) for flag in match[2].split() if _INSTRUCTIONS.match(flag)]
    return hashlib.sha256("\n".join([machine, *model, *sorted(flags)]).encode()).hexdigest()[:8]


def _description() -> str:
    if CPUINFO.exists():
        with CPUINFO.open(errors="replace") as lines:
            return "".join(itertools.takewhile(str.strip, lines))  # the first block; there is one per core
    try:  # macOS
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return platform.processor()
    return asked.stdout
