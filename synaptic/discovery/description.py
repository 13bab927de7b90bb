"""
What others are told of a worker of ours, by zeroconf and by Consul. What is not known is left out, never made up.

An rpc-server tells what its handshake proved; a worker for distributed-llama, which proves nothing but that it is one,
what its command line says: the engine, its version, and the model that it holds in a file of its own.

Zeroconf's keys are short, for all of it fits into one packet; Consul's are words.
"""

from __future__ import annotations

import dataclasses
import itertools
import platform
import re
from collections.abc import Sequence
from pathlib import Path

import psutil

from synaptic import __version__
from synaptic.cluster.backend import Backend, Kind, State

_STATES = {State.IDLE: "idle", State.INCOMPATIBLE: "idle", State.IN_USE: "busy", State.BUSY: "busy"}
_ACCELERATED = re.compile(r"/lib(cuda|cudart|amdhip64|vulkan|OpenCL|ze_loader|sycl|musa|ascendcl|ggml-(?!base|cpu|rpc))[^/]*\.so")
_WORDS = {"be": "backend", "mem": "mem_mib", "thr": "threads", "st": "state", "ver": "version"}
ENGINE = "synaptic"  # what our own workers for distributed-llama call themselves
_LONGEST = 100  # characters of a file's name


@dataclasses.dataclass(frozen=True)
class Description:
    """`protocol` is an rpc-server's own version, such as 7.0.0; `memory` that of its devices, in MiB; `state` idle or busy."""

    protocol: str | None = None
    backend: str | None = None
    devices: int | None = None
    memory: int | None = None
    threads: int | None = None
    state: str | None = None
    kind: Kind = Kind.RPC
    engine: str | None = None
    model: str | None = None  # the name of its file

    def text(self) -> dict[str, str]:
        """Zeroconf's TXT."""
        known = {
            "proto": self.protocol,
            "be": self.backend,
            "devs": self.devices,
            "mem": self.memory,
            "thr": self.threads,
            "arch": platform.machine(),
            "st": self.state,
            "role": "worker",
            "engine": self.engine,
            "model": self.model,
            "ver": __version__,
        }
        return {key: str(value) for key, value in known.items() if value is not None}

    def meta(self) -> dict[str, str]:
        """Consul's Meta."""
        return {_WORDS.get(key, key): value for key, value in self.text().items()}


def describe(worker: Backend | None, pid: int | None) -> Description:
    """`worker`: what its handshake proved, if there was one. `pid`: its process, if that is known."""
    proved = worker is not None and bool(worker.devices)
    return Description(
        protocol=worker.version if worker else None,
        backend=_backend(pid),
        devices=len(worker.devices) if worker and proved else None,
        memory=sum(device.total for device in worker.devices) >> 20 if worker and proved else None,
        threads=_threads(pid),
        state=_STATES.get(worker.state) if worker else None,
    )


def describe_dllama(worker: Backend | None, pid: int | None) -> Description:
    """Of a worker of ours for distributed-llama."""
    words = _words(pid)
    model = _after(words, "--model")
    return Description(
        threads=_number(_after(words, "--threads", "-t")),
        state=_STATES.get(worker.state) if worker else None,
        kind=Kind.DLLAMA,
        engine=ENGINE,
        model=Path(model).name[:_LONGEST] if model else None,
    )


def _backend(pid: int | None) -> str | None:
    """A process that has no accelerator's library open computes on the CPU. One that has may do so all the same: not known."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(errors="replace") if pid else ""
    except OSError:
        return None
    return "CPU" if maps and not _ACCELERATED.search(maps) else None


def _threads(pid: int | None) -> int | None:
    """As its command line says; the program's own default it tells nobody."""
    return _number(_after(_words(pid), "-t", "--threads"))


def _words(pid: int | None) -> list[str]:
    try:
        return psutil.Process(pid).cmdline() if pid else []
    except psutil.Error:
        return []


def _after(words: Sequence[str], *options: str) -> str | None:
    return next((after for before, after in reversed(list(itertools.pairwise(words))) if before in options), None)


def _number(word: str | None) -> int | None:
    return int(word) if word and word.isdecimal() else None
