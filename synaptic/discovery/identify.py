"""What lives behind an open port: the handshake that fits the port, and nothing where every handshake harms."""

from __future__ import annotations

import dataclasses

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.handshake import Foreign
from synaptic.cluster.pool import Pool
from synaptic.discovery.ports import AMBIGUOUS, PORTS, WITHIN
from synaptic.endpoint import Endpoint

_LEFT_ALONE = "open, not asked: a dllama worker ends when a connection breaks off"
_NOT_ASKED_AS = "open, not asked: dllama workers have this port, and one ends when it is taken for anything else"


class Identifier:
    """`verify`: ports on which a complete session may prove a dllama worker."""

    def __init__(self, pool: Pool, *, verify: frozenset[int] = frozenset(), within: float = WITHIN) -> None:
        self._pool = pool
        self._verify = verify
        self._within = within

    async def identify(self, endpoint: Endpoint, kind: Kind) -> Backend | Foreign:
        """`kind`: what the port is for. In `found` belongs a Backend, among the others a Foreign. Never raises for what a peer does."""
        answer = await self._ask(endpoint, kind)
        if isinstance(answer, Foreign):
            return answer
        if answer.state in (State.BUSY, State.UNREACHABLE):
            return Foreign(endpoint, "silent" if answer.state is State.BUSY else "closed", answer.detail)
        known = self._pool.record(endpoint)
        return dataclasses.replace(answer, source=known.source if known and known.source else "scan")

    async def _ask(self, endpoint: Endpoint, kind: Kind) -> Backend | Foreign:
        if self._may_be_taken_wrongly(endpoint, kind):
            return Foreign(endpoint, "dllama", _NOT_ASKED_AS)
        if kind is Kind.RPC:
            return await self._pool.ask(endpoint, within=self._within)
        if kind is Kind.DLLAMA and self._may_verify(endpoint.port):
            from synaptic.cluster.dllama import prove

            return await prove(endpoint, within=self._within)
        if kind is Kind.DLLAMA:
            return Backend(endpoint, kind, State.UNVERIFIED, detail=_LEFT_ALONE)
        from synaptic.cluster.http import identify

        return await identify(endpoint, within=self._within)

    def _may_verify(self, port: int) -> bool:
        """Also at a port where only a source knows of a worker."""
        return port in self._verify or (bool(self._verify) and port not in PORTS[Kind.DLLAMA])

    def _may_be_taken_wrongly(self, endpoint: Endpoint, kind: Kind) -> bool:
        """Whoever names port 9990 for an HTTP server may mean dllama-api, which has the same default."""
        if kind is Kind.DLLAMA or endpoint.port not in PORTS[Kind.DLLAMA] or self._pool.record(endpoint):
            return False
        return kind is Kind.RPC or endpoint.port != AMBIGUOUS
