"""profile: the machines of a cluster, written down once, with where each figure is from."""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.bench_report import kept
from synaptic.commands.grammar import Complete, Completion
from synaptic.commands.plan import Endpoints
from synaptic.commands.registry import registry
from synaptic.endpoint import Endpoint
from synaptic.errors import SynapticError, UsageError
from synaptic.results import Cell, Facts, Note, Rows, to_json

if TYPE_CHECKING:
    from synaptic.deploy.profile.measure import Link
    from synaptic.deploy.profile.profile import Network, Node, Profile
    from synaptic.deploy.profile.profiles import Profiles
    from synaptic.session import Session

KNOCKS = 50
Row = dict[str, str | None]


def names(session: Session) -> list[Completion]:
    """Each by its name, which means the newest version; and those before it."""
    files = profiles_of(session).files()
    newest = {path.parent.name: path for path in files}
    before = [(f"{path.parent.name}@{path.stem[1:]}", path.stem) for path in files if path not in newest.values()]
    return [*((name, path.stem) for name, path in newest.items()), *before]


def profiles_of(session: Session) -> Profiles:
    from synaptic.deploy.profile.profiles import Profiles

    return Profiles.of(session.environment)


@registry.command("profile list", group="deploy")
async def list_(session: Session) -> Rows[Row]:
    """Show the hardware profiles that are known: those that are shipped, and your own.

    See also: profile show, profile new
    """
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
        ("control", profile.control or "none is named"),
        ("network", "; ".join(map(_network, sorted(profile.networks.values(), key=lambda each: each is not profile.network)))),
        ("referred to by", ", ".join(profiles.referrers(profile)) or "nothing yet"),
    ]
    return Facts(facts, {**document.values, "sha256": profile.sha256, "path": str(document.path)}, [("machines", _nodes(profile))])


@registry.command("profile validate", group="deploy")
async def validate(session: Session, name: Annotated[str, Complete(names)]) -> Note:
    """Check a profile: its form, and that names, addresses, ports and roles fit together. An error names the field and its line.

        profile validate beefcake
        profile validate ./my-cluster/v0.1.yaml

    See also: profile show, deploy render
    """
    profile = await asyncio.to_thread(profiles_of(session).profile, name)
    return Note(
        f"{profile.label} is valid, sha256 {profile.sha256[:12]}", {"profile": profile.label, "sha256": profile.sha256, "valid": True}
    )


@registry.command("profile new", group="deploy")
async def new(session: Session, name: str) -> Note:
    """Write a profile of this machine, version 0.1, to be edited and then rendered. What could be measured is in it; nothing is guessed.

        profile new my-cluster

    See also: profile probe, profile validate, deploy render
    """
    from synaptic.deploy.profile.measure import measure
    from synaptic.deploy.profile.write import skeleton

    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name):
        raise UsageError("a profile's name is of a-z, 0-9, - and _", hint="such as: profile new my-cluster")
    with session.bus.work("measuring this machine"):
        text = await asyncio.to_thread(lambda: skeleton(name, measure(_engine(session))))
    path = await asyncio.to_thread(profiles_of(session).write, text)
    return Note(f"{path} is written", {"path": path}, hint=f"edit it, then: profile validate {name}")


@registry.command("profile probe", group="deploy")
async def probe(
    session: Session,
    name: Annotated[str | None, Complete(names)] = None,
    *,
    node: str | None = None,
    on: Endpoints | None = None,
    no_bandwidth: bool = False,
) -> Note | Facts:
    """Measure this machine: cores, memory, its bandwidth, system and devices; and, with --on, the links to llama.cpp's workers.

    With a name, what was measured becomes the next version of that profile: the machine in the class of --node (a profile
    of one machine needs none), each link in the network that the worker's address is of, the slowest of several. A link is
    its round trip, of knocks, and its bandwidth, of the weights of a synthetic model that llama-bench sends over it:
    113 MB for each worker; --no-bandwidth leaves that out. A worker that is in use is not touched.

        profile probe
        profile probe my-cluster --node node1
        profile probe my-cluster --node node1 --on 10.0.0.11,10.0.0.12

    See also: profile show, bench link, plan
    """
    from synaptic.deploy.profile.measure import measure
    from synaptic.deploy.profile.write import written_into

    profiles = profiles_of(session)
    document = await asyncio.to_thread(profiles.find, name) if name else None
    profile = await asyncio.to_thread(profiles.profile, name) if name else None
    where = _node_of(profile, node) if profile else None
    links = [await _link(session, endpoint, not no_bandwidth) for endpoint in on.all] if on else []
    with session.bus.work("measuring this machine"):
        found = await asyncio.to_thread(measure, _engine(session))
    data = {
        "links": [{**dataclasses.asdict(link), "gbps": link.gbps} for link in links],
        "rtt_us": max((link.rtt_us for link in links), default=None),
    }
    if document is None or profile is None or where is None:
        known = to_json(found)
        assert isinstance(known, dict)
        facts: list[tuple[str, str | Cell]] = [(key.replace("_", " "), str(value)) for key, value in known.items()]
        return Facts([*facts, *((f"link to {link.host}", _said(link)) for link in links)], {**known, **data})
    version = profiles.next_version(profile.name, profile.version)
    text = await asyncio.to_thread(lambda: written_into(document.values, where, found, version=version, links=links))
    path = await asyncio.to_thread(profiles.write, text)
    return Note(f"{profile.name}@{version} is written: {path}", {"path": path, "measured": found, **data})


@registry.command("profile diff", group="deploy")
async def diff(session: Session, one: Annotated[str, Complete(names)], other: Annotated[str, Complete(names)]) -> Note:
    """Show what differs between two profiles, or two versions of one: profile diff beefcake@0.1 beefcake

        profile diff beefcake@0.1 beefcake

    See also: profile bump, profile show
    """
    profiles = profiles_of(session)
    first, second = await asyncio.to_thread(lambda: (profiles.find(one), profiles.find(other)))
    before, after = (json.dumps(document.values, indent=1, ensure_ascii=False).splitlines() for document in (first, second))
    lines = list(difflib.unified_diff(before, after, fromfile=str(first.path), tofile=str(second.path), n=2, lineterm=""))
    return Note("\n".join(lines) or "they say the same", {"diff": lines, "same": not lines}, is_verbatim=True)


@registry.command("profile bump", group="deploy")
async def bump(session: Session, name: Annotated[str, Complete(names)], *, bench: Annotated[str | None, Complete(kept)] = None) -> Note:
    """Copy a profile to its next version, among your own, to be edited: a version that something refers to may not change.

    With --bench, a measurement that was made with --profile, the memory bandwidth that it implies is written in, with
    its source and date: plan --profile then says what was measured.

        profile bump my-cluster
        profile bump my-cluster --bench 20261121-155919-6fe915

    See also: profile probe, explain, bench run
    """
    from synaptic.commands.profile_bench import bumped_by

    profiles = profiles_of(session)
    profile, document = await asyncio.to_thread(lambda: (profiles.profile(name), profiles.find(name)))
    version = profiles.next_version(profile.name, profile.version)
    if bench:
        text = await asyncio.to_thread(bumped_by, session, bench, profile, document, version)
    else:
        text, count = re.subn(r"(?m)^version:.*$", f'version: "{version}"', document.text)
        if count != 1:
            raise SynapticError(f"{document.path} does not say its version on one line", hint='write version: "0.1"')
    path = await asyncio.to_thread(profiles.write, text)
    hint = f"try: profile diff {profile.label} {profile.name}@{version}" if bench else f"edit it, then: profile validate {name}"
    return Note(f"{profile.name}@{version} is written: {path}", {"path": path, "version": version}, hint=hint)


def _engine(session: Session) -> Path | None:
    found = session.engines.find("llama-server")
    return found.path if found else None


def _node_of(profile: Profile, node: str | None) -> str:
    """Raises UsageError: it has several, and none was named."""
    if node or len(profile.nodes) == 1:
        return node or next(iter(profile.nodes))
    raise UsageError("which of its machines is this one?", hint=f"add --node {'|'.join(profile.nodes)}")


async def _link(session: Session, endpoint: Endpoint, with_bandwidth: bool) -> Link:
    """Raises BackendError for a worker that is not free, EngineError where llama-bench is missing."""
    from synaptic.cluster.knocks import knocks
    from synaptic.commands.bench_report import bandwidth, check_idle
    from synaptic.deploy.profile.measure import Link

    await check_idle(session, endpoint)
    with session.bus.work(f"measuring the link to {endpoint}"):
        times = sorted(await knocks(endpoint, KNOCKS))
        speed = await bandwidth(session, endpoint) if with_bandwidth else None
    return Link(endpoint.host, round(times[len(times) // 2] * 1e6, 1), speed)


def _said(link: Link) -> str:
    return f"{link.rtt_us:.0f} µs" + (f", {link.gbps:g} Gbit/s" if link.gbps else "")


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
            "machine": lambda node: node.name,
            "roles": lambda node: ", ".join(role for role, members in profile.roles.items() if node.name in members),
            "address": lambda node: ", ".join(f"{network} {address}" for network, address in node.addresses.items()),
            "memory GiB": lambda node: str(node.kind.mem_gib),
            "devices": lambda node: ", ".join(f"{each.model}{'' if each.backend else ' (unsupported)'}" for each in node.kind.devices),
        },
    )


def _network(network: Network) -> str:
    gbps = network.gbps
    speed = "speed not known" if gbps.value is None else str(gbps).replace(" (", " Gbit/s (", 1)
    return f"{network.name}, {network.kind}: {network.cidr or 'addresses not known'}, {speed}"
