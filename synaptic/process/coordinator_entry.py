"""What is written down of one coordinator, and how its process is known again."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import time
from pathlib import Path
from typing import Any

import psutil

from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.models.model import Model
from synaptic.planning.plan import Plan
from synaptic.process.ledger import identity
from synaptic.results import to_json

KEY = "LLAMA_API_KEY"  # the variable in which llama-server is told its key
LOADED_WITHIN, NEW = 5.0, 10.0  # seconds


@dataclasses.dataclass(frozen=True)
class Process:
    """`started` is the identity of this start of this pid on this boot; `executable` what it runs, where that is known."""

    pid: int
    started: str
    executable: str = ""

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """None: no such process lives."""
        started = identity(pid)
        return cls(pid, started, executable(pid)) if started else None

    @classmethod
    def of_us(cls) -> Process:
        us = cls.of(os.getpid())
        assert us
        return us

    @property
    def is_alive(self) -> bool:
        return (_our_identity if self.pid == os.getpid() else identity)(self.pid) == self.started


@dataclasses.dataclass(frozen=True)
class Entry:
    """`process` is None until it runs, `url` until it serves. `owner` is the program of ours that stops it when it ends."""

    plan: Plan
    key: str
    log: Path
    owner: Process
    process: Process | None = None
    url: str | None = None

    @property
    def is_alive(self) -> bool:
        """The very process that was started, and still the program."""
        if self.process is None or not self.process.is_alive:
            return False
        return executable(self.process.pid) == self.process.executable or _has_key(self.process.pid, self.key)

    @property
    def is_ours(self) -> bool:
        return self.owner.pid == os.getpid() and self.owner.is_alive

    @property
    def is_elsewhere(self) -> bool:
        """Another program that lives owns it."""
        return self.owner.pid != os.getpid() and self.owner.is_alive

    @property
    def holder(self) -> str:
        """In whose name its workers are held."""
        name = f"coordinator {self.plan.model.name}"
        return f"{name} of process {self.owner.pid}" if self.is_elsewhere else name

    @property
    def whose(self) -> str:
        return f"run by process {self.owner.pid}" if self.is_elsewhere else "up already"


def same(plan: Plan, other: Plan) -> bool:
    """Whether they are one split of one file. Which servers offer the model too changes nothing."""
    return plan is other or _bare(plan) == _bare(other)


def alike(plan: Plan, other: Plan) -> bool:
    """Whether they differ at most in how many layers each worker holds, and in slots."""
    return same(dataclasses.replace(plan, slots=other.slots, tensor_split=other.tensor_split), other)


def executable(pid: int) -> str:
    """The file it runs; empty when that is not told. One that was replaced meanwhile keeps its name."""
    with contextlib.suppress(psutil.Error, OSError):
        return psutil.Process(pid).exe().removesuffix(" (deleted)")
    return ""


def of_key(key: str, starter: str) -> Process | None:
    """The process that was started with `key`, by a program that ran `starter` and has ended.

    Waits for those that were just forked, or whose program has only begun to be loaded: they show no key yet.
    """
    end = time.monotonic() + LOADED_WITHIN
    while True:
        seen = {process.pid: _variables(process) for process in psutil.process_iter()}
        found = next((pid for pid, variables in seen.items() if variables.get(KEY) == key), None)
        if found is not None:
            return Process.of(found)
        if time.monotonic() > end or not any(_is_on_its_way(pid, variables, starter) for pid, variables in seen.items()):
            return None
        time.sleep(0.005)


def encoded(entry: Entry) -> str:
    plan = dataclasses.replace(entry.plan, model=dataclasses.replace(entry.plan.model, offers=()))
    return json.dumps(to_json({**_fields(entry), "plan": {**_fields(plan), "model": _fields(plan.model)}}), indent=1)


def decoded(path: Path) -> Entry | None:
    """None: it is not there, or no entry of ours."""
    try:
        raw = json.loads(path.read_text())
        plan, model = raw["plan"], raw["plan"]["model"]
        file = Path(model["path"]) if model["path"] else None
        found = Model(**_known(Model, {**model, "path": file, "engines": tuple(model["engines"]), "offers": ()}))
        workers = tuple(Endpoint.parse(text) for text in plan["workers"])
        split = tuple(map(float, plan["tensor_split"]))
        return Entry(
            Plan(**_known(Plan, {**plan, "model": found, "workers": workers, "tensor_split": split})),
            str(raw["key"]),
            Path(raw["log"]),
            _process(raw["owner"]),
            _process(raw["process"]) if raw["process"] else None,
            str(raw["url"]) if raw["url"] else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError):
        return None


@functools.cache
def _our_identity(pid: int) -> str | None:
    """Asked at each answer, and always the same. The pid is another one in a process that was forked from us."""
    return identity(pid)


def _process(raw: dict[str, object]) -> Process:
    return Process(int(str(raw["pid"])), str(raw["started"]), str(raw["executable"]))


def _known(kind: type[Plan | Model], raw: dict[str, Any]) -> dict[str, Any]:
    """Another release of ours may write more."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in raw.items() if name in names}


def _fields(value: Entry | Plan | Model) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _bare(plan: Plan) -> Plan:
    return dataclasses.replace(plan, model=dataclasses.replace(plan.model, offers=()))


def _has_key(pid: int, key: str) -> bool:
    """Also of one that was started just now and shows no variables yet: its program is still being loaded."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        variables = _variables(process)
        return variables.get(KEY) == key if variables else time.time() - process.create_time() < NEW
    return False


def _variables(process: psutil.Process) -> dict[str, str]:
    """Empty when they are not told, or not there yet."""
    with contextlib.suppress(psutil.Error, OSError):
        return dict(process.environ())
    return {}


def _is_on_its_way(pid: int, variables: dict[str, str], starter: str) -> bool:
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        if pid == os.getpid() or time.time() - psutil.Process(pid).create_time() > NEW:
            return False
        runs = executable(pid)  # a thread of the kernel has none
        is_forked = runs == starter and os.getsid(pid) == pid
        return bool(runs) and (is_forked or not variables)
    return False
