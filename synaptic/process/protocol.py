"""
Which RPC protocol the llama.cpp on this machine speaks: asked of its own worker, once per program.

No program of llama.cpp prints it, and a coordinator that meets another major version aborts. A worker of the same
build, started for a moment on loopback, says it in its handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from synaptic.cluster.backend import Backend
from synaptic.cluster.handshake import shake
from synaptic.cluster.protocol import Version
from synaptic.endpoint import Endpoint
from synaptic.errors import EngineError
from synaptic.process.install import Engines
from synaptic.process.variables import inherited
from synaptic.process.workers import HOST, free_port, listens

PINNED = Version(7, 0, 0)  # of the release that `engine install` builds
FIRST_PORT = 52052  # away from where workers live
WITHIN = 3.0


class LocalProtocol:
    def __init__(self, engines: Engines, cache: Path | None, variables: Mapping[str, str]) -> None:
        self._engines = engines
        self._cache = cache / "rpc-protocol.json" if cache else None
        self._variables = variables
        self._asking: asyncio.Task[Version] | None = None

    async def __call__(self) -> Version:
        """The protocol of the worker program here; the pinned release's where there is none to ask."""
        if self._asking is None or (self._asking.done() and (self._asking.cancelled() or self._asking.exception())):
            self._asking = asyncio.create_task(self._find())
        return await asyncio.shield(self._asking)

    async def _find(self) -> Version:
        try:
            program = self._engines.find("ggml-rpc-server")
        except EngineError:  # a variable names nothing; whoever starts a worker will say so
            return PINNED
        if program is None:
            return PINNED
        key = _key(program.path)
        if known := self._remembered(key):
            return known
        version = await _ask(program.path, self._variables)
        if version:
            self._remember(key, version)
        return version or PINNED

    def _remembered(self, key: str) -> Version | None:
        try:
            found = json.loads(self._cache.read_text()) if self._cache else {}
            return Version.parse(found["version"]) if found.get("program") == key else None
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return None

    def _remember(self, key: str, version: Version) -> None:
        if self._cache:
            with contextlib.suppress(OSError):  # a cache: without it we ask again
                self._cache.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._cache.write_text(json.dumps({"program": key, "version": str(version)}))


def _key(program: Path) -> str:
    stat = program.stat()
    return f"{program.resolve()} {stat.st_size} {stat.st_mtime_ns}"


async def _ask(program: Path, variables: Mapping[str, str]) -> Version | None:
    endpoint = Endpoint(HOST, free_port(HOST, FIRST_PORT))
    words = [str(program), "-H", HOST, "-p", str(endpoint.port), "-t", "1"]
    nowhere = subprocess.DEVNULL
    try:
        process = subprocess.Popen(words, stdin=nowhere, stdout=nowhere, stderr=nowhere, env=inherited(variables), start_new_session=True)
    except OSError:
        return None
    try:
        async with asyncio.timeout(WITHIN):
            while process.poll() is None and not await listens(process.pid, endpoint.port):
                await asyncio.sleep(0.01)  # the kernel's table of sockets tells nobody when it changes
        answer = await shake(endpoint, within=WITHIN)
        return Version.parse(answer.version) if isinstance(answer, Backend) and answer.version else None
    except TimeoutError:
        return None
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
