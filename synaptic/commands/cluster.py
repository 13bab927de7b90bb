"""cluster: the machines of a profile, spoken to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import Complete, Completion, Rest
from synaptic.commands.profile import names, profiles_of
from synaptic.commands.registry import registry
from synaptic.errors import UsageError
from synaptic.results import Cell, Rows, plural

if TYPE_CHECKING:
    from synaptic.deploy.profile.profile import Profile
    from synaptic.deploy.profile.profiles import Profiles
    from synaptic.deploy.reach.ssh import Said
    from synaptic.session import Session

EVERY = "all"
CONTROL = "control"  # the machine that the nodes boot from and are administered from
MOST_AT_ONCE = 64


def machines(session: Session) -> list[Completion]:
    return [(EVERY, "every machine of the profile"), (CONTROL, "the machine they are administered from")]


@registry.command("cluster exec", group="deploy")
async def exec_(
    session: Session,
    *machine: Annotated[str, Complete(machines)],
    command: Annotated[tuple[str, ...], Rest()] = (),
    profile: Annotated[str | None, Complete(names)] = None,
    at_once: int = 16,
    within: float = 60.0,
) -> Rows[Said]:
    """Run a command on machines of a profile, over ssh, several at once, and show what each said and its exit code.

    MACHINE is a name of the profile, all, or control: the machine the others boot from. The profile is --profile, or the only
    one of your own. One word after -- is a line for the shell there; several reach the program as they are, with no shell
    between. ssh must know its way: a key of its own, and the machine's; nothing is asked for. 64 KiB of each answer are kept.

        cluster exec node1 node2 --profile beefcake -- uptime
        cluster exec control --profile arc-a770 -- uptime
        cluster exec all -- 'df -h / | tail -1'
        cluster exec all --at-once 4 --within 600 -- sudo apt-get -y upgrade

    See also: profile show, deploy status
    """
    from synaptic.deploy.reach.ssh import client, remote, run_on

    if not command:
        raise UsageError("nothing to run", hint="usage: cluster exec MACHINE… -- COMMAND")
    if not 1 <= at_once <= MOST_AT_ONCE or not 0 < within <= 86400:
        raise UsageError(f"--at-once is 1 to {MOST_AT_ONCE}, and --within seconds up to a day")
    chosen = await asyncio.to_thread(_profile, profiles_of(session), profile)
    wanted, variables, gate = _wanted(chosen, machine), session.environment.variables, asyncio.Semaphore(at_once)
    client(variables)

    async def run(each: str) -> Said:
        async with gate:
            return await run_on(chosen, each, remote(command), variables, within)

    with session.bus.work(f"asking {plural(len(wanted), 'machine')}"):
        said = await asyncio.gather(*map(run, wanted))
    return Rows(
        key="nodes",
        items=said,
        columns={
            "machine": lambda each: each.node,
            "exit": lambda each: Cell("-" if each.code is None else str(each.code), "good" if each.code == 0 else "bad"),
            "said": lambda each: _text(each),
        },
        data={"profile": chosen.label, "command": list(command)},
        exit_code=0 if all(each.code == 0 for each in said) else 3,
    )


def _profile(profiles: Profiles, named: str | None) -> Profile:
    """Raises UsageError: none was named, and it is not plain which."""
    from synaptic.deploy.files.rendered import chosen

    if named:
        return chosen(named, profiles)
    own = profiles.own()
    if len(own) == 1:
        return profiles.profile(own[0])
    raise UsageError("which profile's machines?", hint=f"add --profile {'|'.join(own) or 'NAME; try: profile list'}")


def _wanted(profile: Profile, named: tuple[str, ...]) -> list[str]:
    if EVERY in named:
        return list(profile.nodes)
    control = {CONTROL: profile.control, profile.control: profile.control} if profile.control else {}
    known = control | {name: name for name in profile.nodes}
    for name in named:
        if name not in known:
            raise UsageError(f"{profile.label} has no machine called {name[:60]!r}", hint=f"one of {', '.join([*known, EVERY])}")
    return list(dict.fromkeys(known[name] for name in named))


def _text(said: Said) -> str:
    text = (said.output + said.errors).rstrip("\n")
    return f"{text}\n(the rest is not kept)" if said.is_cut else text
