"""profile: the machines of a cluster, written down once, with where each figure is from."""

from __future__ import annotations

import asyncio
import difflib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import Complete, Completion
from synaptic.commands.plan import Endpoints
from synaptic.commands.registry import registry
from synaptic.errors import SynapticError, UsageError
from synaptic.results import Cell, Facts, Note, Rows, to_json

if TYPE_CHECKING:
    from synaptic.deploy.profile import Node, Profile
    from synaptic.deploy.profiles import Profiles
    from synaptic.session import Session

Row = dict[str, str | None]


def names(session: Session) -> list[Completion]:
    return [(path.parent.name, path.stem) for path in profiles_of(session).files()]


def profiles_of(session: Session) -> Profiles:
    from synaptic.deploy.profiles import Profiles

    return Profiles.of(session.environment)


@registry.command("profile list", group="deploy")
async def list_(session: Session) -> Rows[Row]:
    """Show the hardware profiles that are known: those that are shipped, and your own."""
    profiles = profiles_of(session)
    return Rows(
        key="profiles",
        items=await asyncio.to_thread(lambda: [_row(profiles, path) for path in profiles.files()]),
        columns={key: lambda row, key=key: str(row[key] or "") for key in ("name", "version", "status", "sha256", "about")},  # type: ignore[misc]
        empty="no profiles. try: profile new NAME",
    )


@registry.command("profile show", group="deploy")
async def show(session: Session, name: Annotated[str, Complete(names)]) -> Facts:
    """Show a profile: its machines, what each serves, and what is known of them. NAME is its newest version, NAME@0.1 that one.

        profile show beefcake
        profile show ./my-cluster.yaml

    See also: profile list, deploy render
    """
    profiles = profiles_of(session)
    document = await asyncio.to_thread(profiles.find, name)
    profile = await asyncio.to_thread(profiles.profile, name)
    facts: list[tuple[str, str | Cell]] = [
        ("profile", f"{profile.label}, {profile.status}"),
        ("about", profile.about),
        ("file", str(document.path)),
        ("sha256", profile.sha256),
        ("network", f"{profile.network.name}: {profile.network.cidr or 'addresses not known'}, {profile.network.gbps} Gbit/s"),
        ("referred to by", ", ".join(profiles.referrers(profile)) or "nothing yet"),
    ]
    return Facts(facts, {**document.values, "sha256": profile.sha256, "path": str(document.path)}, [("nodes", _nodes(profile))])


@registry.command("profile validate", group="deploy")
async def validate(session: Session, name: Annotated[str, Complete(names)]) -> Note:
    """Check a profile: its form, and that names, addresses, ports and roles fit together. An error names the field and its line."""
    profile = await asyncio.to_thread(profiles_of(session).profile, name)
    return Note(
        f"{profile.label} is valid, sha256 {profile.sha256[:12]}", {"profile": profile.label, "sha256": profile.sha256, "valid": True}
    )


@registry.command("profile new", group="deploy")
async def new(session: Session, name: str) -> Note:
    """Write a profile of this machine, version 0.1, to be edited and then rendered. What could be measured is in it; nothing is guessed."""
    from synaptic.deploy.measure import measure, skeleton

    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name):
        raise UsageError("a profile's name is of a-z, 0-9, - and _", hint="such as: profile new my-cluster")
    with session.bus.work("measuring this machine"):
        text = await asyncio.to_thread(lambda: skeleton(name, measure()))
    path = await asyncio.to_thread(profiles_of(session).write, text)
    return Note(f"{path} is written", {"path": path}, hint=f"edit it, then: profile validate {name}")


@registry.command("profile probe", group="deploy")
async def probe(
    session: Session, name: Annotated[str | None, Complete(names)] = None, *, node: str | None = None, on: Endpoints | None = None
) -> Note | Facts:
    """Measure this machine: its cores, memory, memory bandwidth, system and devices; and, with --on, workers of llama.cpp.

    With a name, what was measured becomes the next version of that profile, in the class of --node; a profile of one
    node needs no --node. Workers are knocked at, and given back at once: one that is in use is not asked.

        profile probe
        profile probe my-cluster --node node1
        profile probe my-cluster --node node1 --on 10.0.0.11,10.0.0.12

    See also: profile show, profile bump, plan
    """
    from synaptic.deploy.measure import measure, written_into

    profiles = profiles_of(session)
    document = await asyncio.to_thread(profiles.find, name) if name else None
    profile = await asyncio.to_thread(profiles.profile, name) if name else None
    with session.bus.work("measuring this machine"):
        found = await asyncio.to_thread(measure)
    rtt_us = await _round_trip(session, on) if on else None
    if document is None or profile is None:
        known = to_json(found)
        assert isinstance(known, dict)
        facts: list[tuple[str, str | Cell]] = [(key.replace("_", " "), str(value)) for key, value in known.items()]
        return Facts([*facts, *([("round trip", f"{rtt_us:.0f} µs")] if rtt_us else [])], {**known, "rtt_us": rtt_us})
    where = node or (next(iter(profile.nodes)) if len(profile.nodes) == 1 else None)
    if where is None:
        raise UsageError("which of its nodes is this machine?", hint=f"--node {'|'.join(profile.nodes)}")
    version = profiles.next_version(profile.name, profile.version)
    path = await asyncio.to_thread(profiles.write, written_into(document.values, where, found, version=version, rtt_us=rtt_us))
    return Note(f"{profile.name}@{version} is written: {path}", {"path": path, "measured": found, "rtt_us": rtt_us})


@registry.command("profile diff", group="deploy")
async def diff(session: Session, one: Annotated[str, Complete(names)], other: Annotated[str, Complete(names)]) -> Rows[str]:
    """Show what differs between two profiles, or two versions of one: profile diff beefcake@0.1 beefcake"""
    profiles = profiles_of(session)
    first, second = await asyncio.to_thread(lambda: (profiles.find(one), profiles.find(other)))
    before, after = (json.dumps(document.values, indent=1, ensure_ascii=False).splitlines() for document in (first, second))
    lines = list(difflib.unified_diff(before, after, fromfile=str(first.path), tofile=str(second.path), n=2, lineterm=""))
    return Rows(key="diff", items=lines, columns={"line": lambda line: line}, empty="they say the same", data={"same": not lines})


@registry.command("profile bump", group="deploy")
async def bump(session: Session, name: Annotated[str, Complete(names)]) -> Note:
    """Copy a profile to its next version, among your own, to be edited: a version that something refers to may not change."""
    profiles = profiles_of(session)
    profile, document = await asyncio.to_thread(lambda: (profiles.profile(name), profiles.find(name)))
    version = profiles.next_version(profile.name, profile.version)
    text, count = re.subn(r"(?m)^version:.*$", f'version: "{version}"', document.text)
    if count != 1:
        raise SynapticError(f"{document.path} does not say its version on one line", hint='write version: "0.1"')
    path = await asyncio.to_thread(profiles.write, text)
    return Note(
        f"{profile.name}@{version} is written: {path}", {"path": path, "version": version}, hint=f"edit it, then: profile validate {name}"
    )


async def _round_trip(session: Session, on: Endpoints) -> float:
    """Microseconds to the farthest, from the handshake that proves what they are. Raises BackendError for one that is not ready."""
    from synaptic.errors import BackendError

    session.know_backends()
    found = await session.pool.check(on.all)
    for worker in found:
        if not worker.is_ready or worker.latency_ms is None:
            raise BackendError(f"{worker.endpoint} cannot be measured now: {worker.detail or worker.state.value}", hint="try: rpc check")
    return round(max(worker.latency_ms or 0.0 for worker in found) * 1000, 1)


def _row(profiles: Profiles, path: Path) -> Row:
    row: Row = {"name": path.parent.name, "version": path.stem[1:], "path": str(path)}
    try:
        profile = profiles.profile(str(path))
    except UsageError as error:
        return row | {"status": "broken", "sha256": None, "about": str(error)}
    return row | {"status": profile.status, "sha256": profile.sha256[:12], "about": profile.about}


def _nodes(profile: Profile) -> Rows[Node]:
    return Rows(
        key="nodes",
        items=list(profile.nodes.values()),
        columns={
            "node": lambda node: node.name,
            "roles": lambda node: ", ".join(role for role, members in profile.roles.items() if node.name in members),
            "address": lambda node: ", ".join(f"{network} {address}" for network, address in node.addresses.items()),
            "memory": lambda node: str(node.kind.mem_gib),
            "devices": lambda node: ", ".join(f"{each.model}{'' if each.backend else ' (unsupported)'}" for each in node.kind.devices),
        },
    )
