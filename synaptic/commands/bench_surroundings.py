"""What surrounds a measurement: whether this is a moment for it, who is watched meanwhile, and what is learned from it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from synaptic.errors import EngineError, SynapticError
from synaptic.events import Noticed
from synaptic.results import Json, to_json

if TYPE_CHECKING:
    from synaptic.bench.preflight import Condition, Finding
    from synaptic.bench.result import Result
    from synaptic.bench.telemetry.watch import Watch
    from synaptic.commands.bench_subject import Subject
    from synaptic.deploy.profile.profile import Profile
    from synaptic.session import Session

WARN, REFUSE, SKIP = "warn", "refuse", "skip"


class Preflight:
    """Looks before (`check`) and after (`as_json`, into the report)."""

    def __init__(self, session: Session, mode: str) -> None:
        self._session = session
        self._mode = mode
        self._before: Condition | None = None
        self._found: list[Finding] = []

    async def check(self, *subjects: Subject) -> None:
        """Raises EngineError: what would be measured is something else, or whatever there is where that was asked for."""
        from synaptic.bench.preflight import findings, look

        if self._mode == SKIP:
            return
        self._before = await look()
        of_each = [findings(self._before, others=each.others, is_loaded=each.is_loaded) for each in subjects]
        self._found = list(dict.fromkeys(finding for found in of_each for finding in found))
        bad = [finding for finding in self._found if finding.is_serious or self._mode == REFUSE]
        if bad:
            raise EngineError(f"not measured, for {bad[0]}", hint="--preflight skip measures all the same")
        for finding in self._found:
            self._session.bus.publish(Noticed(text=f"while it is measured, {finding}", attention=True))

    async def as_json(self) -> Json:
        from synaptic.bench.preflight import happened, look

        if self._before is None:
            return None
        return to_json([*self._found, *happened(self._before, await look())])


@contextlib.asynccontextmanager
async def watched(watches: Sequence[Watch]) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for watch in watches:
            await stack.enter_async_context(watch)
        yield


async def watches(session: Session, subject: Subject, profile: Profile | None, *, nodes: bool) -> list[Watch]:
    """The server's own figures, where it has some; with `nodes` also the profile's machines, or those of the workers."""
    from synaptic.bench.telemetry.others import Server, watch_of_node

    found: list[Watch] = [Server(subject.url, subject.key)] if subject.url and subject.has_metrics else []
    if not nodes:
        return found
    variables = session.environment.variables
    ssh = shutil.which("ssh", path=variables.get("PATH"))
    tried = [watch_of_node(host, host, where, ssh, variables) for host, where in _machines(subject, profile)]
    return found + [watch for watch in await asyncio.gather(*tried) if watch]


def learn(session: Session, result: Result, profile: Profile | None) -> None:
    """Keep what came beside what was predicted: the next prediction is made by it. The profile's version may not change any more."""
    from synaptic.bench.explained import explained
    from synaptic.deploy.profile.profiles import Profiles

    found = [each for each in explained(result) if each.step and not each.point.why_not]
    try:
        for each in found:
            session.predictions.record(result.model.name, each.said, each.measured, result.at, source=result.id)
        if profile:
            Profiles.of(session.environment).refer(profile, f"bench {result.id}")
    except SynapticError as error:
        session.bus.publish(Noticed(text=str(error), attention=True))


def _machines(subject: Subject, profile: Profile | None) -> list[tuple[str, str | None]]:
    """Each with its address for ssh; None: only its exporter is asked."""
    if profile:
        user = f"{profile.control_user}@" if profile.control_user else ""
        nodes = profile.having("monitoring") or tuple(profile.nodes.values())
        return [(profile.address(node), f"{user}{profile.address(node)}") for node in nodes]
    workers = subject.expectation.plan.workers if subject.expectation else ()
    return [(host, None) for host in dict.fromkeys(worker.host for worker in workers)]
