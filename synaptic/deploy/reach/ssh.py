"""
One command on one machine, by the OpenSSH client of this one.

Host keys, users and jump hosts are what ~/.ssh/config says: a machine whose key is not known is not spoken to, and nobody
is asked for a password. What a machine says is kept up to a limit; the rest is read and thrown away, so that it can end.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence

from synaptic.deploy.profile.profile import Profile
from synaptic.errors import UsageError

CONNECT_WITHIN = 5  # seconds
LIMIT = 1 << 16  # bytes that are kept of each stream


@dataclasses.dataclass(frozen=True)
class Said:
    """`code` None: no answer in time. `is_cut`: it said more than is kept."""

    node: str
    code: int | None
    output: str
    errors: str
    is_cut: bool = False

    @property
    def last_words(self) -> str:
        """Why there is nothing else."""
        words = self.errors.strip().splitlines() or [f"ended with {self.code}, and said nothing"]
        return words[-1]


def program(name: str, variables: Mapping[str, str], hint: str) -> str:
    """Raises UsageError: it is not on the PATH."""
    found = shutil.which(name, path=variables.get("PATH", os.defpath))
    if not found:
        raise UsageError(f"{name} is not here", hint=hint)
    return found


def client(variables: Mapping[str, str]) -> str:
    return program("ssh", variables, "install an ssh client")


def remote(words: Sequence[str]) -> str:
    """What the shell there reads: one word is a line of its own, several arrive as they are."""
    return words[0] if len(words) == 1 else shlex.join(words)


async def run_on(profile: Profile, name: str, command: str, variables: Mapping[str, str], within: float) -> Said:
    """`name`: a node's, or that of `control`; `command` is for the shell there. Raises UsageError: there is no ssh."""
    words = (client(variables), "-n", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_WITHIN}", "--", _where(profile, name), command)
    pipe, none = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*words, stdin=none, stdout=pipe, stderr=pipe, env=variables)
    assert process.stdout
    assert process.stderr
    try:
        async with asyncio.timeout(within):
            (output, cut), (errors, _) = await asyncio.gather(_bounded(process.stdout), _bounded(process.stderr))
            code = await process.wait()
    except TimeoutError:
        return Said(name, None, "", f"no answer within {within:.0f} s")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return Said(name, code, output, errors, cut)


def _where(profile: Profile, name: str) -> str:
    """Both are of letters, digits and a few signs: the profile's schema has seen to it, and -- stands before them."""
    address = profile.reached_at(name)
    return f"{profile.control_user}@{address}" if profile.control_user else address


async def _bounded(stream: asyncio.StreamReader) -> tuple[str, bool]:
    kept, is_cut = bytearray(), False
    while piece := await stream.read(LIMIT):
        room = LIMIT - len(kept)
        kept += piece[:room]
        is_cut = is_cut or len(piece) > room
    return kept.decode(errors="replace"), is_cut
