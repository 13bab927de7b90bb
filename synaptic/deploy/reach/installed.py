"""
What is on a machine: asked for over ssh in one go, or looked at in a folder that stands for it. Nothing is changed there,
and nothing is connected to.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from synaptic.deploy.profile.profile import Node, Profile
from synaptic.deploy.reach.ssh import run_on
from synaptic.process.elf import HEAD, machine_of
from synaptic.terminal import one_line

WITHIN = 120.0  # seconds; sums of programs on a slow card take some
_SUM = re.compile(r"\\?([0-9a-f]{64}) [ *](/.*)")


@dataclasses.dataclass(frozen=True)
class Socket:
    """`address` as the kernel has it; * and 0.0.0.0 and [::] are all of them."""

    address: str
    port: int


@dataclasses.dataclass(frozen=True)
class Installed:
    """`sums`: of files that are there, by path; `machines`: of programs, None for one that is no ELF file. `why`: nothing is known."""

    node: str
    sums: Mapping[str, str] = dataclasses.field(default_factory=dict)
    machines: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    sockets: tuple[Socket, ...] = ()
    why: str | None = None


async def ask(profile: Profile, node: Node, paths: Sequence[str], programs: Sequence[str], variables: Mapping[str, str]) -> Installed:
    """Raises UsageError: there is no ssh here."""
    listed = shlex.join([*paths, *programs])
    heads = "; ".join(f"echo {shlex.quote(path)}; od -An -v -tx1 -N{HEAD} {shlex.quote(path)}" for path in programs)
    command = f"exec 2>/dev/null; sha256sum -- {listed}; echo ==; {heads or ':'}; echo ==; ss -Hltn; echo =="
    said = await run_on(profile, node.name, command, variables, WITHIN)
    parts = said.output.split("==\n")
    if len(parts) != 4:
        return Installed(node.name, why=one_line(said.last_words, 200))
    sums = {found[2]: found[1] for found in map(_SUM.fullmatch, parts[0].splitlines()) if found}
    return Installed(node.name, sums, _machines(parts[1]), tuple(filter(None, map(_socket, parts[2].splitlines()))))


def look(node: str, root: Path, paths: Sequence[str], programs: Sequence[str]) -> Installed:
    """The same, of a folder that stands for its root: no sockets."""
    sums, machines = {}, {}
    for path in (*paths, *programs):
        place = root / path.lstrip("/")
        if place.is_file():
            with place.open("rb") as file:
                machines[path] = machine_of(file.read(HEAD))
                file.seek(0)
                sums[path] = hashlib.file_digest(file, "sha256").hexdigest()
    return Installed(node, sums, {path: machine for path, machine in machines.items() if path in programs})


def _machines(text: str) -> dict[str, str | None]:
    """od may write its bytes over several lines."""
    found: dict[str, str] = {}
    path = ""
    for line in text.splitlines():
        if line.startswith("/"):
            path = line
        else:
            found[path] = found.get(path, "") + line
    return {path: machine_of(bytes.fromhex(digits)) for path, digits in found.items() if re.fullmatch(r"[0-9a-f\s]*", digits)}


def _socket(line: str) -> Socket | None:
    """State, two queues, the local address, the peer's: of ss -Hltn."""
    words = line.split()
    address, _, port = words[3].rpartition(":") if len(words) >= 4 else ("", "", "")
    return Socket(address.partition("%")[0].strip("[]") or "*", int(port)) if port.isdecimal() else None
