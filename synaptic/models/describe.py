"""A model as a value, from the best that is known of it: its file, else what servers say, else its name."""

from __future__ import annotations

from pathlib import Path

from synaptic.dllama.header import DllamaHeader
from synaptic.models.entries import SHIPPED, Entry
from synaptic.models.gguf_header import Header
from synaptic.models.model import DLLAMA, ENGINES, LLAMA_CPP, Model
from synaptic.models.name import size_in


def of_file(entry: Entry, path: Path, header: Header | DllamaHeader, *, modified: float) -> Model:
    """`modified`: when the file was, in seconds since the epoch."""
    return Model(
        name=entry.name,
        source=entry.source,
        path=path,
        architecture=header.architecture,
        parameters=header.parameters,
        active_parameters=header.active_parameters,
        layers=header.layers,
        context=header.context,
        quantization=header.quantization,
        bytes=header.file_bytes,
        engines=_engines(entry, LLAMA_CPP if isinstance(header, Header) else DLLAMA),
        temperature=0.0 if entry.source == SHIPPED else None,
        modified=modified,
        offers=entry.offers,
    )


def of_offers(entry: Entry) -> Model:
    """No file of it is of use here. Of several servers the one that says most is believed."""
    best = max(entry.offers, key=lambda offer: (offer.parameters, offer.bytes))
    named = size_in(entry.name)
    parameters = best.parameters or (named.parameters if named else 0)
    share = named.active_parameters / named.parameters if named else 1.0
    return Model(
        name=entry.name,
        source="node",
        path=None,
        architecture=best.family,
        parameters=parameters,
        active_parameters=round(parameters * share),
        layers=0,
        context=best.context,
        quantization=best.quantization,
        bytes=best.bytes,
        engines=_engines(entry),
        offers=entry.offers,
    )


def _engines(entry: Entry, *own: str) -> tuple[str, ...]:
    able = {*own, *(offer.engine for offer in entry.offers)}
    return tuple(engine for engine in ENGINES if engine in able)
