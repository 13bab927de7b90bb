"""Where an endpoint was heard of, and which of several sources is named."""

from __future__ import annotations

from collections.abc import Iterable

from synaptic.endpoint import Endpoint

SOURCES = ("static", "consul", "zeroconf", "environment", "scan")  # the first that knows an endpoint is named


def merge(found: Iterable[tuple[Endpoint, str]]) -> dict[Endpoint, str]:
    """Each endpoint once, with its best source, in the order of the sources. A source of no rank is an error of ours."""
    best: dict[Endpoint, str] = {}
    for endpoint, source in found:
        rank = SOURCES.index(source)
        if endpoint not in best or rank < SOURCES.index(best[endpoint]):
            best[endpoint] = source
    return dict(sorted(best.items(), key=lambda pair: SOURCES.index(pair[1])))
