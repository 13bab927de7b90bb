"""
The distributed-llama workers that settings name, as rpc_backends does; port 9999 where none is named.

    "dllama_backends": [{"host": "192.168.1.10", "port": 9999}]
"""

from __future__ import annotations

from collections.abc import Sequence

from synaptic.endpoint import DLLAMA_PORT, Endpoint
from synaptic.settings.keys import DLLAMA_BACKENDS, dllama_backends, with_backends
from synaptic.settings.text import Document


def add(document: Document, added: Sequence[Endpoint]) -> list[Endpoint]:
    """Into the document; those that were not there."""
    known = _known(document)
    new = [each for each in dict.fromkeys(added) if each not in known]
    if new:
        _write(document, [*known, *new])
    return new


def remove(document: Document, removed: Sequence[Endpoint]) -> list[Endpoint]:
    """Out of the document; those that were there."""
    known = _known(document)
    gone = [each for each in known if each in removed]
    if gone:
        _write(document, [each for each in known if each not in gone])
    return gone


def _known(document: Document) -> tuple[Endpoint, ...]:
    try:
        return dllama_backends(document.get(DLLAMA_BACKENDS))
    except ValueError:
        return ()


def _write(document: Document, endpoints: Sequence[Endpoint]) -> None:
    document[DLLAMA_BACKENDS] = with_backends(document.get(DLLAMA_BACKENDS), endpoints, DLLAMA_PORT)
