"""deploy status and deploy apply: what reaches machines. See synaptic.commands.deploy for what does not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import Complete
from synaptic.commands.profile import names, profiles_of
from synaptic.commands.registry import registry
from synaptic.errors import UsageError
from synaptic.results import Cell, Lines, Note, Rows, gib, plural

if TYPE_CHECKING:
    from synaptic.deploy.reach import ServiceState
    from synaptic.session import Session


@registry.command("deploy status", group="deploy")
async def status(session: Session, profile: Annotated[str, Complete(names)]) -> Rows[ServiceState]:
    """Ask every node of a profile, over ssh, how its services are: state, restarts, memory, whether the port is open.

    Each node runs llama-service-status, which deploy render puts there; it asks systemd and the kernel, and connects
    to no worker. ssh must know its way without a password.

    See also: deploy render, profile show
    """
    from synaptic.deploy.reach import states

    chosen = await asyncio.to_thread(profiles_of(session).profile, profile)
    with session.bus.work(f"asking {plural(len(chosen.nodes), 'node')}"):
        found = await states(chosen, session.environment.variables)
    return Rows(
        key="services",
        items=found,
        columns={
            "node": lambda each: each.node,
            "service": lambda each: each.service,
            "state": lambda each: Cell(each.state, "good" if each.is_well else "bad"),
            "restarts": lambda each: each.restarts,
            "memory": lambda each: gib(int(each.memory)) if each.memory.isdecimal() else each.memory,
            "port": lambda each: each.port,
        },
        data={"profile": chosen.label, "well": all(each.is_well for each in found)},
        exit_code=0 if all(each.is_well for each in found) else 3,
    )


@registry.command("deploy apply", group="deploy")
async def apply(session: Session, folder: str, *, check: bool = False) -> Lines | Note:
    """Run a rendered playbook with ansible-playbook: on every node of its profile. Asks first; --check only shows what would change.

        deploy render beefcake --target ansible --out ./beefcake
        deploy apply ./beefcake --check
        deploy apply ./beefcake

    See also: deploy check, deploy status
    """
    from synaptic.deploy.reach import play
    from synaptic.deploy.rendered import findings, rendering

    found = await asyncio.to_thread(rendering, Path(folder).expanduser())
    if found.target != "ansible":
        raise UsageError(f"{found.folder} was rendered for {found.target}", hint="deploy render PROFILE --target ansible --out DIR")
    wrong = await asyncio.to_thread(findings, found, profiles_of(session))
    if wrong:
        raise UsageError(f"{wrong[0].what} {wrong[0].why}", hint=f"deploy check {found.folder} shows all; deploy render writes it anew")
    if not check and not await session.confirm(f"change the machines of {found.profile} as {found.folder} says?"):
        return Note("nothing was changed", {"applied": False})
    return Lines("lines", play(found.folder, session.environment.variables, check=check))
