"""deploy: from a list of machines to the files that run workers on them. Nothing here reaches for a machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import models
from synaptic.commands.grammar import Choice, Complete
from synaptic.commands.profile import names, profiles_of
from synaptic.commands.registry import registry
from synaptic.errors import UsageError
from synaptic.results import Note, plural

if TYPE_CHECKING:
    from synaptic.deploy.files.builds import Build
    from synaptic.deploy.profile.profile import Profile
    from synaptic.planning.placement import Placement
    from synaptic.session import Session

NEXT = {
    "systemd": "copy each node's folder over its /, then there: useradd -r {user}; systemctl daemon-reload; systemctl enable --now UNIT",
    "ansible": "ansible-playbook -i {out}/inventory.yml {out}/site.yml --check",
    "compose": "on each node: docker compose up -d",
    "nohup": "on each node: ./start",
}


@registry.command("deploy render", group="deploy")
async def render(
    session: Session,
    profile: Annotated[str, Complete(names)],
    *,
    out: str,
    target: Annotated[str, Choice("systemd", "ansible", "compose", "nohup")] = "systemd",
    model: Annotated[str | None, Complete(models)] = None,
    ctx: int | None = None,
    parallel: int = 1,
    builds: str | None = None,
) -> Note:
    """Write the files that run a profile's services: units or an Ansible playbook, compose files or scripts, one folder per node.

    With --model, the plan for it over the profile's machines sets limits of memory, the split and the time to load;
    without, no limit is written, for none is known. The folder is written whole or not at all, and an earlier
    rendering in it is replaced. Nothing is installed.

    --builds names folders with engine programs, a comma between, one for each architecture: those of engine install or
    engine record. The playbook then copies each node its own, and refuses one that is not what was recorded, or was
    built for another architecture.

        deploy render beefcake --out ./beefcake
        deploy render goldentooth --target ansible --out ./goldentooth
        deploy render goldentooth --target ansible --builds ./dllama-pi,./dllama-x86 --out ./goldentooth
        deploy render my-cluster --model llama-3.1-70b-q4_k_m --out ./mine

    See also: profile show, deploy check, plan
    """
    from synaptic.deploy.files.render import render, write

    folder = Path(out).expanduser()
    profiles = profiles_of(session)
    chosen = await asyncio.to_thread(profiles.profile, profile)
    placed = await _placed(session, chosen, model, ctx, parallel) if model else None
    brought = await asyncio.to_thread(_builds, builds, target)
    files = await asyncio.to_thread(render, chosen, target, placed, brought)
    await asyncio.to_thread(write, files, folder)
    await asyncio.to_thread(profiles.refer, chosen, f"the rendering in {folder.absolute()}")
    note = " it is planned, not built." if chosen.status == "planned" else ""
    text = f"{plural(len(files), 'file')} for {chosen.label} written to {folder}.{note}"
    data = {"profile": chosen.label, "sha256": chosen.sha256, "target": target, "out": folder, "files": sorted(files)}
    return Note(text, {**data, "plan": placed.why if placed else None}, hint=NEXT[target].format(out=folder, user=chosen.services.user))


@registry.command("deploy inventory", group="deploy")
async def inventory(session: Session, profile: Annotated[str, Complete(names)]) -> Note:
    """Show a profile as Ansible's dynamic inventory: what it asks a program for with --list.

        deploy inventory beefcake --json

    See also: deploy render, profile show
    """
    import json

    from synaptic.deploy.files.inventory import listed

    document = listed(await asyncio.to_thread(profiles_of(session).profile, profile))
    return Note(json.dumps(document, indent=1), document)


def _builds(named: str | None, target: str) -> list[Build]:
    from synaptic.deploy.files.builds import read_builds

    if named and target != "ansible":
        raise UsageError(f"nothing copies programs for {target}", hint="add --target ansible")
    return read_builds([Path(each).expanduser() for each in named.split(",")]) if named else []


async def _placed(session: Session, profile: Profile, model: str, ctx: int | None, parallel: int) -> Placement:
    """Raises UsageError: it does not fit, or the profile has no machines for it."""
    from synaptic.deploy.profile.machines import machines
    from synaptic.planning.placement import place
    from synaptic.planning.plan import context_of
    from synaptic.planning.shape import Shape

    chosen = await asyncio.to_thread(session.catalog.find, model)
    header = await asyncio.to_thread(session.catalog.header, chosen)
    found = machines(profile)
    if not found:
        raise UsageError(f"{profile.label} has no machine for llama.cpp", hint="name nodes below roles.llama_rpc")
    placed = place(Shape.of(header), found, context=context_of(chosen, ctx), slots=parallel, must_use_all=True)
    if not placed.fits:
        raise UsageError(f"{model} does not fit: {placed.why}", hint=f"try: plan {model} --profile {profile.name}")
    return placed
