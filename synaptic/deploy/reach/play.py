"""A rendered playbook, run: ansible-playbook changes the machines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from synaptic.deploy.reach.ssh import program
from synaptic.errors import BackendError
from synaptic.results import Json


async def play(
    folder: Path,
    variables: Mapping[str, str],
    *,
    check: bool,
    gone: Mapping[str, Sequence[str]],
    root: Path | None,
    node: str | None = None,
) -> AsyncIterator[str]:
    """
    What ansible-playbook says, line by line. Raises UsageError (no Ansible here) or BackendError (it failed).

    `gone`: by node, files of an earlier rendering that are to go; `root`: fill this folder of this machine instead, which
    stands for `node`.
    """
    player = program("ansible-playbook", variables, "pip install ansible-core")
    words = ["-i", str(folder / "inventory.yml"), str(folder / "site.yml"), *(["--check", "--diff"] if check else [])]
    words += ["-e", json.dumps({"cluster_gone": gone})] if gone else []
    words += _into(root.absolute()) if root else []
    words += ["--limit", node] if node else []
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        player,
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
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # Ansible ends its own connections
            await process.wait()
    if code:
        raise BackendError(f"ansible-playbook ended with {code}", hint=f"what it said is above; deploy check {folder}")


def _into(root: Path) -> list[str]:
    """On this machine, as whoever runs it, without a systemd to speak to. Its Python is ours: discovery may find a broken one first."""
    image: dict[str, Json] = {"cluster_root": str(root), "cluster_is_live": False, "cluster_become": False}
    return ["-c", "local", "-e", json.dumps({**image, "ansible_python_interpreter": "{{ ansible_playbook_python }}"})]
