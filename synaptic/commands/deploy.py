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
from synaptic.results import Note, Rows, plural

if TYPE_CHECKING:
    from synaptic.deploy.profile import Profile
    from synaptic.deploy.rendered import Finding
    from synaptic.planning.placement import Placement
    from synaptic.session import Session

NEXT = {
    "systemd": "copy each node's folder onto it, then: systemctl daemon-reload",
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
) -> Note:
    """Write the files that run a profile's services: units or an Ansible playbook, compose files or scripts, one folder per node.

    With --model, the plan for it over the profile's machines sets limits of memory, the split and the time to load;
    without, no limit is written, for none is known. The folder is written whole or not at all, and an earlier
    rendering in it is replaced. Nothing is installed.

        deploy render beefcake --out ./beefcake
        deploy render goldentooth --target ansible --out ./goldentooth
        deploy render my-cluster --model llama-3.1-70b-q4_k_m --out ./mine

    See also: profile show, deploy check, plan
    """
    from synaptic.deploy.render import render, write

    folder = Path(out).expanduser()
    profiles = profiles_of(session)
    chosen = await asyncio.to_thread(profiles.profile, profile)
    placed = await _placed(session, chosen, model, ctx, parallel) if model else None
    files = await asyncio.to_thread(render, chosen, target, placed)
    await asyncio.to_thread(write, files, folder)
    await asyncio.to_thread(profiles.refer, chosen, f"the rendering in {folder.absolute()}")
    note = " it is planned, not built." if chosen.status == "planned" else ""
    text = f"{plural(len(files), 'file')} for {chosen.label} written to {folder}.{note}"
    data = {"profile": chosen.label, "sha256": chosen.sha256, "target": target, "out": folder, "files": sorted(files)}
    return Note(text, {**data, "plan": placed.why if placed else None}, hint=NEXT[target].format(out=folder))


@registry.command("deploy check", group="deploy")
async def check(session: Session, folder: str) -> Rows[Finding]:
    """Look at a rendered folder again: whether every file is as it was written, and its profile still says the same."""
    from synaptic.deploy.rendered import findings, rendering

    profiles = profiles_of(session)
    found = await asyncio.to_thread(rendering, Path(folder).expanduser())
    wrong = await asyncio.to_thread(findings, found, profiles)
    return Rows(
        key="findings",
        items=wrong,
        columns={"what": lambda finding: finding.what, "why": lambda finding: finding.why},
        empty=f"{found.folder} is what {found.profile} says, for {found.target}",
        data={"profile": found.profile, "target": found.target},
        exit_code=1 if wrong else 0,
    )


@registry.command("deploy rollback", group="deploy")
async def rollback(session: Session, folder: str, *, to: str | None = None) -> Note:
    """Render a folder again from the version of its profile before, or the one that --to names: versions do not change.

    Nothing is installed: look at it with deploy apply --check, and then apply it. A folder that was rendered with
    --model is not guessed at: render it with --model again.

        deploy rollback ./beefcake
        deploy rollback ./beefcake --to 0.1

    See also: deploy apply, deploy check, profile diff
    """
    from synaptic.deploy.render import render, write
    from synaptic.deploy.rendered import rendering

    path = Path(folder).expanduser()
    found, profiles = await asyncio.to_thread(rendering, path), profiles_of(session)
    name, _, version = found.profile.partition("@")
    wanted = to or await asyncio.to_thread(profiles.version_before, name, version)
    if wanted is None:
        raise UsageError(f"{found.profile} is the first version", hint=f"deploy rollback {folder} --to VERSION")
    again = f"deploy render {name}@{wanted} --target {found.target} --out {folder}"
    if found.is_planned:
        raise UsageError(f"{path} was rendered with a plan for a model", hint=f"{again} --model MODEL")
    chosen = await asyncio.to_thread(profiles.profile, f"{name}@{wanted}")
    files = await asyncio.to_thread(render, chosen, found.target)
    await asyncio.to_thread(write, files, path)
    await asyncio.to_thread(profiles.refer, chosen, f"the rendering in {path.absolute()}")
    said = {"profile": chosen.label, "before": found.profile, "target": found.target, "out": path}
    return Note(f"{path} is now what {chosen.label} says; it was {found.profile}", said, hint=NEXT[found.target].format(out=path))


@registry.command("deploy inventory", group="deploy")
async def inventory(session: Session, profile: Annotated[str, Complete(names)]) -> Note:
    """Show a profile as Ansible's dynamic inventory: what it asks a program for with --list."""
    import json

    from synaptic.deploy.inventory import listed

    document = listed(await asyncio.to_thread(profiles_of(session).profile, profile))
    return Note(json.dumps(document, indent=1), document)


async def _placed(session: Session, profile: Profile, model: str, ctx: int | None, parallel: int) -> Placement:
    """Raises UsageError: it does not fit, or the profile has no machines for it."""
    from synaptic.deploy.machines import machines
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
