"""
Where a client's request goes: as everywhere, by the routing.

Asking everyone anew takes longer than a first token may be late, so the route of a model that is loaded holds until
something happens: a setting, a worker, a node or a process that changed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from synaptic.engines.answering import NODES_FRESH
from synaptic.errors import SynapticError
from synaptic.events import BackendChecked, ChildChanged, Event, NodeActivity, SettingChanged
from synaptic.models.model import BUILTIN, DLLAMA, LLAMA_CPP
from synaptic.planning.plan import Route
from synaptic.process.child import State
from synaptic.web.gateway.refusal import UnknownModelError

if TYPE_CHECKING:
    from synaptic.session import Session

LATEST = ":latest"
SHOWN = 20  # names in a refusal


class Routes:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[str, Route] = {}
        session.bus.tap(self._hear)

    def close(self) -> None:
        self._session.bus.untap(self._hear)

    async def to(self, name: str) -> Route:
        """Raises UnknownModelError, or what the routing raises."""
        route = self._known.get(name)
        if route and self.is_up(route):
            return route
        ours = await self.named(name)
        self._session.know_backends()
        route = await self._session.answering.route(ours)
        if route.via == LLAMA_CPP:
            self._known[name] = route
        return route

    def is_up(self, route: Route) -> bool:
        """Whether its model is in memory, or a server has it."""
        if route.plan is None:
            return True
        if route.via == BUILTIN:
            return any(each.plan == route.plan and each.state == "ready" for each in self._session.roots.all())
        if route.via == DLLAMA:
            return any(each.plan == route.plan and each.state is State.READY for each in self._session.dllama_apis.all())
        return any(each.plan == route.plan and each.state is State.READY for each in self._session.coordinators.all())

    async def named(self, name: str) -> str:
        """What we call it. Only what is listed: a path would show a stranger what lies on this machine."""
        await self._session.nodes.refresh(max_age=NODES_FRESH)
        names = [each for each, _ in await asyncio.to_thread(self._session.catalog.names)]
        for wanted in (name, name.removesuffix(LATEST), name + LATEST):
            if found := next((each for each in names if each.casefold() == wanted.casefold()), None):
                return found
        if found := await asyncio.to_thread(self._other_form, name, names):
            return found
        shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
        raise UnknownModelError(f"model '{name[:100]}' not found; there are: {shown or 'none'}")

    def _other_form(self, name: str, names: list[str]) -> str | None:
        """Another form of a name of Ollama's: `library/llama3`."""
        if name.startswith(("/", ".", "~")) or name.lower().endswith((".gguf", ".m")):
            return None
        try:
            found = self._session.catalog.find(name).name
        except SynapticError:
            return None
        return found if found in names else None

    def _hear(self, event: Event) -> None:
        has_changed = isinstance(event, SettingChanged | BackendChecked | ChildChanged)
        if has_changed or (isinstance(event, NodeActivity) and event.what == "state"):
            self._known.clear()
