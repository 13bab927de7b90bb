"""Hints in a look around: what each endpoint is asked as, and which source its find is told with."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from itertools import chain

from synaptic.cluster.backend import Backend, Kind
from synaptic.cluster.handshake import Foreign
from synaptic.discovery.discover import Identify
from synaptic.discovery.hint import Hint
from synaptic.discovery.ports import PORTS
from synaptic.discovery.sources import merge
from synaptic.discovery.sweep import IS_HALF_OPEN
from synaptic.endpoint import Endpoint
from synaptic.terminal import one_line


class Hearsay:
    """`known` are configured, and asked as what they are. `identify` is that of Discovery, with our claims put in."""

    def __init__(self, hints: Iterable[Hint], known: Collection[Endpoint], identify: Identify) -> None:
        told = [hint for hint in hints if IS_HALF_OPEN or _kind(hint) is not Kind.DLLAMA]
        self._sources = merge(chain(((each, "static") for each in known), ((hint.endpoint, hint.source) for hint in told)))
        best = sorted(told, key=lambda hint: hint.source != self._sources[hint.endpoint])
        self._kinds = {hint.endpoint: _kind(hint) for hint in reversed(best) if hint.endpoint not in known}
        self._instances = {hint.endpoint: f"{hint.source} {hint.name}" for hint in reversed(best) if hint.name}
        self._told = {hint.endpoint: _told(dict(hint.text)) for hint in best if hint.text and _kind(hint) is Kind.DLLAMA}
        self._identify = identify

    @property
    def endpoints(self) -> list[Endpoint]:
        """Those nobody configured, the best source first."""
        return [endpoint for endpoint in self._sources if endpoint in self._kinds]

    @property
    def instances(self) -> Mapping[Endpoint, str]:
        """What its source calls each, behind the source."""
        return self._instances

    def source(self, endpoint: Endpoint) -> str:
        return self._sources[endpoint]

    async def identify(self, endpoint: Endpoint, kind: Kind) -> Backend | Foreign:
        answer = await self._identify(endpoint, self._kinds.get(endpoint, kind))
        if isinstance(answer, Backend) and endpoint in self._kinds:
            detail = "; ".join(filter(None, (answer.detail, self._told.get(endpoint))))
            return dataclasses.replace(answer, source=self._sources[endpoint], detail=detail)
        return answer


def _told(text: Mapping[str, str]) -> str:
    """What a dllama worker says of itself, for its protocol says nothing."""
    engine = " ".join(filter(None, (text.get("engine", ""), text.get("ver", ""))))
    model = f"holds {text['model']}" if text.get("model") else ""
    said = " · ".join(filter(None, (engine, model)))
    return f"says it is {one_line(said, 120)}" if said else ""


def _kind(hint: Hint) -> Kind:
    """A dllama worker ends when it is asked as anything else, so its ports are left alone whatever is claimed."""
    return Kind.DLLAMA if hint.endpoint.port in PORTS[Kind.DLLAMA] else hint.kind
