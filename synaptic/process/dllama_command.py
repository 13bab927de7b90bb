"""How dllama-api is started."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import psutil

from synaptic.models.model import file_of
from synaptic.planning.dllama import BUFFERS
from synaptic.planning.plan import Plan

HOST = "127.0.0.1"  # it has no key, and dies of whoever only knocks
FIRST_PORT = 19990  # below the ports that connections are given, and away from its default, where others look


@dataclasses.dataclass(frozen=True)
class Start:
    """`temperature`, `seed`: for the life of the process; it ignores the temperature of a request."""

    program: Path
    tokenizer: Path
    threads: int | None = None
    temperature: float | None = None
    seed: int | None = None


def command_line(start: Start, plan: Plan, port: int, stdbuf: str | None = None) -> tuple[str, ...]:
    """
    Paths are absolute: it takes any word "-h" or "--help" for a cry for help, and a worker ends its list at the first "-".

    `stdbuf`: the program that makes it write its log line by line.
    """
    words = [stdbuf, "-oL"] if stdbuf else []
    words += [str(start.program), "--model", str(file_of(plan.model).absolute()), "--tokenizer", str(start.tokenizer.absolute())]
    words += ["--buffer-float-type", BUFFERS.get(plan.model.quantization, "q80"), "--max-seq-len", str(plan.context)]
    words += ["--host", HOST, "--port", str(port), "--nthreads", str(_threads(start, plan))]
    if any(worker.is_loopback for worker in plan.workers):
        words += ["--net-turbo", "0"]  # without pauses, processes on the same cores wait for each other
    words += ["--temperature", f"{start.temperature:g}"] if start.temperature is not None else []
    words += ["--seed", str(start.seed)] if start.seed is not None else []
    if plan.workers:
        words += ["--workers", *map(str, plan.workers)]
    return tuple(words)


def log_of(logs: Path, plan: Plan) -> Path:
    return logs / f"coordinator-{re.sub(r'[^A-Za-z0-9._-]+', '-', plan.model.name)[-80:]}.log"


def _threads(start: Start, plan: Plan) -> int:
    """
    It ends when asked for more than there are, and takes one when not asked. Its threads wait for each other by spinning:
    one core stays free for everything else, and workers on this machine want theirs.
    """
    here = 1 + sum(worker.is_loopback for worker in plan.workers)
    cores = (psutil.cpu_count(logical=False) or 1) - 1
    return min(start.threads or max(cores // here, 1), os.cpu_count() or 1)
