"""The two ways in which a deployment reaches machines: ssh, to ask how they are, and ansible-playbook, to change them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from synaptic.deploy.profile import Node, Profile
from synaptic.errors import BackendError, UsageError
from synaptic.terminal import one_line

WITHIN = 20.0  # seconds for one node's answer
LIMIT = 1 << 16  # bytes of it that are read
FIELDS = 5


@dataclasses.dataclass(frozen=True)
class ServiceState:
    """As the node says: `port` is listening, closed or - ; `restarts` and `memory` (bytes) are numbers, or - where systemd does not say."""

    node: str
    service: str
    state: str
    restarts: str
    memory: str
    port: str

    @property
    def is_well(self) -> bool:
        return self.state == "active" and self.port != "closed"


async def states(profile: Profile, variables: Mapping[str, str]) -> list[ServiceState]:
    """Of every node that is watched, all asked at once. One that does not answer is a state too. UsageError: there is no ssh."""
    ssh = _program("ssh", variables, "install an ssh client")
    nodes = profile.having("monitoring") or tuple(profile.nodes.values())
    found = await asyncio.gather(*(_states_of(profile, node, ssh, variables) for node in nodes))
    return [state for each in found for state in each]


async def play(folder: Path, variables: Mapping[str, str], *, check: bool) -> AsyncIterator[str]:
    """What ansible-playbook says, line by line. Raises UsageError (no Ansible here) or BackendError (it failed)."""
    program = _program("ansible-playbook", variables, "pip install ansible-core")
    words = ["-i", str(folder / "inventory.yml"), str(folder / "site.yml"), *(["--check", "--diff"] if check else [])]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program,
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=asyncio.subprocess.STDOUT,
        env=variables,
        start_new_session=True,
    )
    assert process.stdout
    try:
        async for line in process.stdout:
            yield line.decode(errors="replace").rstrip("\n")
        code = await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # Ansible ends its own connections
        await process.wait()
    if code:
        raise BackendError(f"ansible-playbook ended with {code}", hint=f"what it said is above; deploy check {folder}")


async def _states_of(profile: Profile, node: Node, ssh: str, variables: Mapping[str, str]) -> list[ServiceState]:
    where = f"{profile.control_user}@{profile.address(node)}" if profile.control_user else profile.address(node)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(ssh, "-n", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "--", where, "llama-service-status"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        env=variables,
    )
    try:
        async with asyncio.timeout(WITHIN):
            output, words = await process.communicate()
    except TimeoutError:
        return [_lost(node, f"no answer within {WITHIN:.0f} s")]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = [line.split("\t") for line in output[:LIMIT].decode(errors="replace").splitlines()]
    told = [ServiceState(node.name, *line) for line in lines if len(line) == FIELDS]
    if told:
        return told
    last = words.decode(errors="replace").strip().splitlines()[-1:] or [f"ended with {process.returncode}, and said nothing"]
    return [_lost(node, one_line(last[0], 200))]


def _lost(node: Node, why: str) -> ServiceState:
    return ServiceState(node.name, "-", why, "-", "-", "-")


def _program(name: str, variables: Mapping[str, str], hint: str) -> str:
    found = shutil.which(name, path=variables.get("PATH", os.defpath))
    if not found:
        raise UsageError(f"{name} is not here", hint=hint)
    return found
