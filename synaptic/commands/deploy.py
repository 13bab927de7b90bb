"""deploy: from a list of machines to the files that run workers on them. Nothing here reaches for a machine."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import models
from synaptic.commands.grammar import Choice, Complete
from synaptic.commands.profile import names, profiles_of
from synaptic.commands.registry import registry
from synaptic.errors import UsageError
from synaptic.files import path_of
from synaptic.results import Note, plural

if TYPE_CHECKING:
    from synaptic.deploy.files.builds import Build
    from synaptic.deploy.profile.profile import Profile
    from synaptic.planning.placement import Placement
    from synaptic.session import Session

NEXT = {
    "systemd": (
        "copy each machine's folder over its /, then there: useradd -r {user}; systemctl daemon-reload; systemctl enable --now UNIT\n"
        "  units: {units}"
    ),
    "ansible": "ansible-playbook -i {out}/inventory.yml {out}/site.yml --check",
    "compose": "on each machine: docker compose up -d",
    "nohup": "on each machine: ./start",
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
    parallel: int | None = None,
    builds: str | None = None,
) -> Note:
    """Write the files that run a profile's services: units or an Ansible playbook, compose files or scripts, one folder for each machine.

    With --model, the plan for it over the profile's machines sets limits of memory, the split and the time to load;
    without, no limit is written, for none is known. --ctx and --parallel take the place of what the profile says of its
    head of llama.cpp. The folder is written whole or not at all, and an earlier rendering in it is replaced. Nothing is
    installed.

    --builds names folders with engine programs, a comma between, one for each architecture: those of engine install or
    engine record. The playbook then copies each machine its own, and refuses one that is not what was recorded, or was
    built for another architecture.

        deploy render beefcake --out ./beefcake
        deploy render goldentooth --target ansible --out ./goldentooth
        deploy render goldentooth --target ansible --builds ./dllama-pi,./dllama-x86 --out ./goldentooth
        deploy render beefcake --parallel 3 --ctx 8192 --out ./beefcake
        deploy render my-cluster --model llama-3.1-70b-q4_k_m --out ./mine

    See also: profile show, deploy check, plan
    """
    from synaptic.deploy.files.render import render, write

    folder = path_of(out)
    profiles = profiles_of(session)
    chosen = _as_asked(await asyncio.to_thread(profiles.profile, profile), ctx, parallel)
    chosen, placed = await _placed(session, chosen, model) if model else (chosen, None)
    brought = await asyncio.to_thread(_builds, builds, target)
    files = await asyncio.to_thread(render, chosen, target, placed, brought)
    await asyncio.to_thread(write, files, folder)
    await asyncio.to_thread(profiles.refer, chosen, f"the rendering in {folder.absolute()}")
    note = " it is planned, not built." if chosen.status == "planned" else ""
    text = f"{plural(len(files), 'file')} for {chosen.label} written to {folder}.{note}"
    data = {"profile": chosen.label, "sha256": chosen.sha256, "target": target, "out": folder, "files": sorted(files)}
    hint = NEXT[target].format(out=folder, user=chosen.services.user, units=_units(chosen))
    return Note(text, {**data, "plan": placed.why if placed else None}, hint=hint)


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
    return read_builds([path_of(each) for each in named.split(",")]) if named else []


def _as_asked(profile: Profile, context: int | None, slots: int | None) -> Profile:
    """Raises UsageError: it cannot be, or there is no head that it would be of."""
    if any(each is not None and each < 1 for each in (context, slots)):
        raise UsageError("--ctx and --parallel are whole numbers from 1 on", hint="such as: --ctx 8192 --parallel 3")
    if (context or slots) and not profile.having("llama_head"):
        raise UsageError(f"{profile.label} has no head of llama.cpp", hint="--ctx and --parallel are its own; leave them out")
    head = profile.services.head
    head = dataclasses.replace(head, context=context or head.context, slots=slots or head.slots)
    return dataclasses.replace(profile, services=dataclasses.replace(profile.services, head=head))


def _units(profile: Profile) -> str:
    """What is enabled, and on which nodes: workers first."""
    from synaptic.deploy.services.services import services_of

    nodes: dict[str, list[str]] = {}
    for service in services_of(profile):
        if service.stays:
            nodes.setdefault(service.name, []).append(service.node.name)
    nodes |= {"llama-node-agent.timer": [node.name for node in watched]} if (watched := profile.having("monitoring")) else {}
    workers_first = sorted(nodes, key=lambda name: name.endswith(("-head", "-api")))
    return ", then ".join(f"{name} on {', '.join(nodes[name])}" for name in workers_first)


async def _placed(session: Session, profile: Profile, model: str) -> tuple[Profile, Placement]:
    """The profile with the context that was planned for. Raises UsageError: it does not fit, or there are no machines for it."""
    from synaptic.deploy.profile.machines import machines
    from synaptic.planning.placement import place
    from synaptic.planning.plan import context_of
    from synaptic.planning.shape import Shape

    chosen = await asyncio.to_thread(session.catalog.find, model)
    header = await asyncio.to_thread(session.catalog.header, chosen)
    found, head = machines(profile), profile.services.head
    if not found:
        raise UsageError(f"{profile.label} has no machine for llama.cpp", hint="name nodes below roles.llama_rpc")
    context = context_of(chosen, head.context)
    placed = place(Shape.of(header), found, context=context, slots=head.slots, must_use_all=True)
    if not placed.fits:
        raise UsageError(f"{model} does not fit: {placed.why}", hint=f"try: plan {model} --profile {profile.name}")
    return (_as_asked(profile, context, None) if profile.having("llama_head") else profile), placed
