"""deploy check: a rendered folder, and with --live or --root what is installed, looked at again. Nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synaptic.commands.profile import profiles_of
from synaptic.commands.registry import registry
from synaptic.errors import UsageError
from synaptic.files import path_of
from synaptic.results import Rows, plural

if TYPE_CHECKING:
    from synaptic.deploy.files.rendered import Finding, Rendering
    from synaptic.deploy.profile.profile import Profile
    from synaptic.deploy.reach.installed import Installed
    from synaptic.deploy.services.service import Service
    from synaptic.session import Session


@registry.command("deploy check", group="deploy")
async def check(session: Session, folder: str, *, live: bool = False, root: str | None = None, node: str | None = None) -> Rows[Finding]:
    """Look at a rendered folder again, and with --live at its machines: drift, builds, ports, versions, exposure.

    Whether every file is as it was written, its profile still says the same, and no worker listens where strangers
    could reach it, for its protocol has no key.

    With --live, every machine is asked over ssh, and changed in nothing: whether each file is what was rendered, whether
    programs are the builds that were recorded and for its architecture, and on which addresses ports are open. Then
    workers of llama.cpp are shaken hands with and heads asked for their health; to a worker of distributed-llama
    nothing connects. With --root, files are looked for in a folder that stands for the machine --node.

        deploy check ./beefcake
        deploy check ./beefcake --live
        deploy check ./pi-image --root /srv/pxe/pi --node cargyll

    See also: deploy render, deploy apply, deploy status
    """
    from synaptic.deploy.files.rendered import described, findings, rendering
    from synaptic.deploy.reach.drift import exposed_units

    profiles = profiles_of(session)
    found = await asyncio.to_thread(rendering, path_of(folder))
    wrong = await asyncio.to_thread(findings, found, profiles)
    wrong += await asyncio.to_thread(lambda: list(exposed_units(found)))
    if live or root:
        if not found.installed():
            raise UsageError(
                f"{found.folder} was rendered for {found.target}, which installs nothing", hint="render it with --target systemd or ansible"
            )
        profile = await asyncio.to_thread(described, found)
        wrong += await (_live(session, found, profile) if live else _in_folder(found, profile, path_of(root or ""), node))
    return Rows(
        key="findings",
        items=wrong,
        columns={"what": lambda finding: finding.what, "why": lambda finding: finding.why},
        empty=f"{found.folder} is what {found.profile} says, for {found.target}{', and so are its machines' if live else ''}",
        data={"profile": found.profile, "target": found.target, "live": live},
        exit_code=1 if wrong else 0,
    )


async def _live(session: Session, found: Rendering, profile: Profile) -> list[Finding]:
    from synaptic.deploy.reach import answers
    from synaptic.deploy.reach.drift import exposure
    from synaptic.deploy.reach.installed import ask
    from synaptic.deploy.reach.ssh import client

    variables, services = session.environment.variables, await asyncio.to_thread(_services, profile)
    client(variables)
    names = list(dict.fromkeys(node for node, _ in found.installed()))
    with session.bus.work(f"asking {plural(len(names), 'machine')}"):
        asked = (ask(profile, profile.nodes[name], *_paths(found, services, name), variables) for name in names)
        machines = await asyncio.gather(*asked)
        wrong = [each for machine in machines for each in (*_of(found, profile, machine), *exposure(machine, services))]
        workers = answers.workers(profile, services)
        session.know_backends()
        wrong += answers.of_workers(workers, await session.pool.check(workers))
        return wrong + await answers.of_heads(profile, services)


async def _in_folder(found: Rendering, profile: Profile, root: Path, node: str | None) -> list[Finding]:
    from synaptic.deploy.reach.installed import look

    services = await asyncio.to_thread(_services, profile)
    name = found.node(node)
    machine = await asyncio.to_thread(look, name, root, *_paths(found, services, name))
    return _of(found, profile, machine)


def _of(found: Rendering, profile: Profile, machine: Installed) -> list[Finding]:
    from synaptic.deploy.reach.drift import architecture, drift, programs

    return [*drift(found, machine, profile.services.monitoring), *programs(found, machine), *architecture(profile, machine)]


def _services(profile: Profile) -> list[Service]:
    from synaptic.deploy.files.tls import behind
    from synaptic.deploy.services.services import services_of

    return services_of(behind(profile))


def _paths(found: Rendering, services: Sequence[Service], node: str) -> tuple[list[str], list[str]]:
    """Of a node: the files that it was given, and the programs that its services run."""
    from synaptic.deploy.files.builds import program_of

    programs = dict.fromkeys(program_of(service) for service in services if service.node.name == node)
    return [path for name, path in found.installed() if name == node], list(programs)
