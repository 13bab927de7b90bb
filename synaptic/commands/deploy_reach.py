"""deploy status, apply and rollback: what reaches machines. See synaptic.commands.deploy for what does not."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import Complete
from synaptic.commands.profile import names, profiles_of
from synaptic.commands.registry import registry
from synaptic.errors import UsageError
from synaptic.files import path_of
from synaptic.results import Cell, Lines, Note, Rows, gib, plural

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from synaptic.deploy.files.rendered import Rendering
    from synaptic.deploy.reach.generations import Generation
    from synaptic.deploy.reach.status import ServiceState
    from synaptic.session import Session


@registry.command("deploy status", group="deploy")
async def status(session: Session, profile: Annotated[str, Complete(names)]) -> Rows[ServiceState]:
    """Ask every machine of a profile, over ssh, how its services are: state, restarts, time to repair, memory, port.

    The time to repair (MTTR) is the mean, over the automatic restarts that the journal still knows, from the end of
    a service's process until systemd counted it as started again: for a head, until it has written a token.

    Each machine runs llama-service-status, which deploy render puts there; it asks systemd and the kernel, and connects
    to no worker. ssh must know its way without a password. A rendered folder, such as ./beefcake, names its profile too.

    See also: deploy render, profile show
    """
    from synaptic.deploy.files.rendered import chosen
    from synaptic.deploy.reach.status import states

    own = await asyncio.to_thread(chosen, profile, profiles_of(session))
    with session.bus.work(f"asking {plural(len(own.nodes), 'machine')}"):
        found = await states(own, session.environment.variables)
    return Rows(
        key="services",
        items=found,
        columns={
            "machine": lambda each: each.node,
            "service": lambda each: each.service,
            "state": lambda each: Cell(each.state, "good" if each.is_well else "bad"),
            "restarts": lambda each: each.restarts,
            "repair": lambda each: each.repair if each.repair == "-" else f"{each.repair} s",
            "memory": lambda each: gib(int(each.memory)) if each.memory.isdecimal() else each.memory,
            "port": lambda each: each.port,
        },
        data={"profile": own.label, "well": all(each.is_well for each in found)},
        exit_code=0 if all(each.is_well for each in found) else 3,
    )


@registry.command("deploy apply", group="deploy")
async def apply(session: Session, folder: str, *, check: bool = False, root: str | None = None, node: str | None = None) -> Lines | Note:
    """Run a rendered playbook with ansible-playbook: on every machine of its profile. Asks first; --check only shows what would change.

    What an earlier one installed and this one no longer has is stopped and removed. What was applied is kept, so that
    deploy rollback can go back to it. With --root, a folder of this machine is filled instead: an image that --node boots.

        deploy render beefcake --target ansible --out ./beefcake
        deploy apply ./beefcake --check
        deploy apply ./beefcake
        deploy apply ./beefcake --root /srv/pxe/node1 --node node1

    See also: deploy check, deploy status, deploy rollback
    """
    from synaptic.deploy.files.rendered import findings, rendering

    found = await asyncio.to_thread(rendering, path_of(folder))
    _check_target(found)
    wrong = await asyncio.to_thread(findings, found, profiles_of(session))
    if wrong:
        raise UsageError(f"{wrong[0].what} {wrong[0].why}", hint=f"deploy check {found.folder} shows all; deploy render writes it anew")
    limit = _limit(found, root, node)
    if not check and not await session.confirm(f"change the machines of {found.profile} as {found.folder} says?"):
        return Note("nothing changed", {"applied": False})
    return Lines("lines", _play(session, found, check=check, root=root, node=limit))


@registry.command("deploy generations", group="deploy")
async def generations(session: Session, folder: str, *, root: str | None = None) -> Rows[Generation]:
    """Show what was applied to the cluster of a rendered folder: the last ten, which one is live, and the sum of each.

        deploy generations ./beefcake

    See also: deploy apply, deploy rollback
    """
    from synaptic.deploy.files.rendered import rendering
    from synaptic.deploy.reach.generations import Generations

    found = await asyncio.to_thread(rendering, path_of(folder))
    known = Generations.of(session.environment, found.cluster, path_of(root) if root else None)
    return Rows(
        key="generations",
        items=await asyncio.to_thread(known.all),
        columns={
            "number": lambda each: str(each.number),
            "profile": lambda each: each.profile,
            "applied": lambda each: each.applied_at,
            "sha256": lambda each: each.sha256[:12],
            "": lambda each: "live" if each.is_live else "",
        },
        empty=f"nothing was applied to {found.cluster} from here",
        data={"cluster": found.cluster},
    )


@registry.command("deploy rollback", group="deploy")
async def rollback(
    session: Session, folder: str, *, to: int | None = None, check: bool = False, root: str | None = None, node: str | None = None
) -> Lines | Note:
    """Apply again what was applied before, or the generation that --to names, and make the folder what it was then.

    The files are those that were applied, not rendered again: each is compared with its sum first. What came since is
    stopped and removed. Asks first; --check only shows what would change, and leaves the folder alone.

        deploy generations ./beefcake
        deploy rollback ./beefcake --check
        deploy rollback ./beefcake --to 3

    See also: deploy apply, deploy status, profile diff
    """
    from synaptic.deploy.files.rendered import rendering
    from synaptic.deploy.reach.generations import Generations

    found = await asyncio.to_thread(rendering, path_of(folder))
    _check_target(found)
    known = Generations.of(session.environment, found.cluster, path_of(root) if root else None)
    wanted = await asyncio.to_thread(known.before, to)
    kept = await asyncio.to_thread(known.folder, wanted)
    limit = _limit(kept, root, node)
    question = f"change the machines of {found.cluster} back to generation {wanted.number}, {wanted.profile} of {wanted.applied_at}?"
    if not check and not await session.confirm(question):
        return Note("nothing changed", {"applied": False})
    return Lines("lines", _play(session, kept, check=check, root=root, node=limit, into=found.folder))


def _limit(found: Rendering, root: str | None, node: str | None) -> str | None:
    """A folder stands for one machine: those of several would overwrite one another in it. Raises UsageError."""
    if node and not root:
        raise UsageError("--node says whose folder --root is", hint="add --root FOLDER; without it every machine is changed")
    return found.node(node) if root else None


async def _play(
    session: Session, found: Rendering, *, check: bool, root: str | None, node: str | None, into: Path | None = None
) -> AsyncIterator[str]:
    """`into`: the folder that is to be what was applied, when that went well."""
    from synaptic.deploy.files.file import File
    from synaptic.deploy.files.render import MANIFEST, write
    from synaptic.deploy.reach.generations import Generations, gone
    from synaptic.deploy.reach.play import play

    image = path_of(root) if root else None
    known = Generations.of(session.environment, found.cluster, image)
    live, before = await asyncio.to_thread(known.live), None
    if live:
        with contextlib.suppress(UsageError):  # somebody changed it: then nothing says what is to go
            before = await asyncio.to_thread(known.folder, live)
    async for line in play(found.folder, session.environment.variables, check=check, gone=gone(before, found), root=image, node=node):
        yield line
    if check:
        return
    if into:
        names = [*found.files, MANIFEST]
        files = {
            name: File((found.folder / name).read_text(encoding="utf-8"), (found.folder / name).stat().st_mode & 0o777) for name in names
        }
        await asyncio.to_thread(write, files, into)
    now = await asyncio.to_thread(known.applied, found)
    yield f"generation {now.number}, {now.profile}, is live"


def _check_target(found: Rendering) -> None:
    if found.target != "ansible":
        raise UsageError(
            f"{found.folder} was rendered for {found.target}, and only what is rendered for ansible is applied",
            hint="try: deploy render PROFILE --target ansible --out FOLDER",
        )
