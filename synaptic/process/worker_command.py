"""How a worker on this machine is started."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

from synaptic.endpoint import DLLAMA_PORT, RPC_PORT, Endpoint
from synaptic.errors import EngineError
from synaptic.process.install import Engines
from synaptic.process.relayed import RELAY
from synaptic.process.variables import inherited, inherited_by_python

RPC, BUILTIN = "llama.cpp", "builtin"  # llama.cpp's rpc-server; our own worker for distributed-llama
RPC_TLS = "llama.cpp behind TLS"  # an rpc-server that only a relay beside it can reach
FIRST_PORTS = {RPC: RPC_PORT, BUILTIN: DLLAMA_PORT, RPC_TLS: RPC_PORT}
HERE = "127.0.0.1"


@dataclasses.dataclass(frozen=True)
class Start:
    """
    `cache`: a folder called rpc, in which an rpc-server keeps the large tensors that it is sent.

    `model`: a .m file from which a worker of our own takes the weights of its layers.

    `certificate`: what the relay of RPC_TLS shows; `clients`: the certificates of those that may use it, None: everyone.
    """

    engine: str
    program: Path
    threads: int | None = None
    cache: Path | None = None
    certificate: Path | None = None
    clients: Path | None = None
    model: Path | None = None

    def words(self, endpoint: Endpoint) -> tuple[str, ...]:
        if self.engine == BUILTIN:
            threads = ("--threads", str(self.threads)) if self.threads else ()
            command = (str(self.program), "-m", "synaptic.dllama.worker")
            model = ("--model", str(self.model)) if self.model else ()
            return (*command, "--host", endpoint.host, "--port", str(endpoint.port), *threads, *model)
        options = [*(["-t", str(self.threads)] if self.threads else []), *(["-c"] if self.cache else [])]
        before = self._relay(endpoint) if self.certificate else ()
        host = HERE if self.certificate else endpoint.host
        return (*before, str(self.program), "-H", host, "-p", str(endpoint.port), *options)

    def variables(self, ours: Mapping[str, str]) -> dict[str, str]:
        if self.engine == BUILTIN:
            return inherited_by_python(ours)
        told = inherited_by_python(ours) if self.certificate else inherited(ours)
        return told | ({"LLAMA_CACHE": str(self.cache.parent)} if self.cache else {})

    def _relay(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Before the words of an rpc-server that listens on loopback, on the same port."""
        clients = ("--clients", str(self.clients)) if self.clients else ()
        files = ("--cert", str(self.certificate), *clients)
        return (sys.executable, "-m", RELAY, "to-here", "--listen", str(endpoint), "--to", f"{HERE}:{endpoint.port}", *files, "--")


def start_of(
    engine: str,
    engines: Engines,
    threads: int | None,
    cache: Path | None,
    certificate: Path | None = None,
    clients: Path | None = None,
    model: Path | None = None,
) -> Start:
    """EngineError when what it needs is not here; UsageError for files that do not fit."""
    if engine == RPC_TLS:
        from synaptic.process.relay_trust import serving

        assert certificate
        serving(certificate, clients)
        return Start(
            engine, engines.require("ggml-rpc-server").path, threads, cache, certificate.absolute(), clients and clients.absolute()
        )
    if engine == RPC:
        return Start(engine, engines.require("ggml-rpc-server").path, threads, cache)
    if not importlib.util.find_spec("numpy"):
        raise EngineError("the built-in worker computes with numpy, which is not here", hint="try: engine install builtin")
    return Start(engine, Path(sys.executable), threads, model=model and model.absolute())
