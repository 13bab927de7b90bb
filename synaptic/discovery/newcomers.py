"""Workers that turn up while a shell lives: proposed, never added. Those that were there before belong to `discover`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

from synaptic.cluster.backend import Kind
from synaptic.discovery.complaints import Complaints
from synaptic.discovery.consul_answers import Access
from synaptic.discovery.reach import is_near
from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.events import Bus, Noticed
from synaptic.results import plural

_MOST_NAMED = 4
_MOST_TOLD = 50  # in the life of one shell: who knows more, or makes them up, is not a neighbour


class Newcomers:
    """Each is told once, whatever becomes of it and whoever knows it."""

    def __init__(self, bus: Bus, is_known: Callable[[Endpoint], bool]) -> None:
        self._bus = bus
        self._is_known = is_known
        self._seen: set[Endpoint] = set()
        self._told = 0

    def heard(self, source: str, endpoints: Iterable[Endpoint], *, is_news: bool, kind: Kind = Kind.RPC) -> None:
        """`source` knows these now. Not news: they were there when we came."""
        if self._told >= _MOST_TOLD:
            return
        fresh = [endpoint for endpoint in dict.fromkeys(endpoints) if endpoint not in self._seen]
        self._seen.update(fresh)
        new = [endpoint for endpoint in fresh if not self._is_known(endpoint)]
        if new and is_news:
            self._told += len(new)
            self._bus.publish(Noticed(text=_sentence(source, new, kind.value)))

    async def follow(self, access: Access, complaints: Complaints) -> None:
        """What a Consul agent lists, until cancelled: one request at a time, answered when something changes."""
        from synaptic.discovery.consul import Consul

        is_news = False
        try:
            async with Consul(access) as consul, contextlib.aclosing(consul.watch("llama-rpc", failed=complaints.failed)) as listings:
                async for endpoints in listings:
                    complaints.worked()
                    self.heard("consul", filter(is_near, endpoints), is_news=is_news)
                    is_news = True
        except UsageError as error:  # certificates that cannot be read
            complaints.failed(error)


def _sentence(source: str, new: Sequence[Endpoint], noun: str) -> str:
    """`noun`: of the commands for such workers."""
    names = ", ".join(map(str, new[:_MOST_NAMED]))
    if len(new) > _MOST_NAMED:
        return f"{source} knows {len(new)} new workers: {names} and {len(new) - _MOST_NAMED} more   try: {noun} discover"
    what = f"a new worker {names}" if len(new) == 1 else f"{plural(len(new), 'new worker')}: {names}"
    return f"{source} knows {what}   try: {noun} add {' '.join(map(str, new))}"
