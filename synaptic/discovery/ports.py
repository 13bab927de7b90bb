"""Which ports to look at for what."""

from __future__ import annotations

from synaptic.cluster.backend import Kind

PORTS: dict[Kind, tuple[int, ...]] = {
    Kind.RPC: (50052,),
    Kind.DLLAMA: (9999, 9998, 9990),
    Kind.OLLAMA: (11434,),
    Kind.OPENAI: (8000, 8080),
}
AMBIGUOUS = 9990  # the default of `dllama worker` and of dllama-api, and what proves the one ends the other
WITHIN = 0.9  # seconds for one server in all
