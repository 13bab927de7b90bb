"""How the services of a profile are, as each node says over ssh."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping

from synaptic.deploy.profile.profile import Node, Profile
from synaptic.deploy.reach.ssh import client, run_on
from synaptic.terminal import one_line

WITHIN = 20.0  # seconds for one node's answer
FIELDS = 6


@dataclasses.dataclass(frozen=True)
class ServiceState:
    """
    As the node says: `port` is listening, closed or - ; `restarts`, `memory` (bytes) and `repair` are numbers, or - where
    systemd does not say. `repair`: mean seconds from the end of its process until it counted as started again.
    """

    node: str
    service: str
    state: str
    restarts: str
    memory: str
    port: str
    repair: str

    @property
    def is_well(self) -> bool:
        return self.state == "active" and self.port != "closed"


async def states(profile: Profile, variables: Mapping[str, str]) -> list[ServiceState]:
    """Of every node that is watched, all asked at once. One that does not answer is a state too. UsageError: there is no ssh."""
    client(variables)
    nodes = profile.having("monitoring") or tuple(profile.nodes.values())
    found = await asyncio.gather(*(_states_of(profile, node, variables) for node in nodes))
    return [state for each in found for state in each]


async def _states_of(profile: Profile, node: Node, variables: Mapping[str, str]) -> list[ServiceState]:
    said = await run_on(profile, node.name, "llama-service-status", variables, WITHIN)
    lines = [line.split("\t") for line in said.output.splitlines()]
    told = [ServiceState(node.name, *line) for line in lines if len(line) == FIELDS]
    return told or [_lost(node, one_line(said.last_words, 200))]


def _lost(node: Node, why: str) -> ServiceState:
    return ServiceState(node.name, "-", why, "-", "-", "-", "-")
