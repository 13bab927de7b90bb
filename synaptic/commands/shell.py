"""help and exit."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import AnyNumber, Command, Complete, Completion, Param
from synaptic.commands.registry import registry
from synaptic.errors import UsageError
from synaptic.results import Leave, Note

if TYPE_CHECKING:
    from synaptic.session import Session

CLOSING = """\
New here? `demo` shows it all at work, `doctor` says what is missing, `status` what runs.
`help COMMAND` tells more. Any other line is sent to the model."""
GROUPS = ("answers", "models", "workers", "deploy", "measure", "look", "settings", "engines", "shell")
NAMES, FLAGS = 21, 24  # columns of the names of commands, and of flags


def names(session: Session) -> list[Completion]:
    return [(command.name, command.summary) for command in registry]


@registry.command("help", group="shell", aliases=("?",))
async def help_(session: Session, *command: Annotated[str, AnyNumber(), Complete(names)]) -> Note:
    """Show all commands, or how one of them is used.

        help
        help rpc add

    See also: doctor, status
    """
    if not command:
        return Note(overview(), {"commands": [_json(each) for each in registry]})
    return describe(list(command))


@registry.command("exit", group="shell", aliases=("quit", "q"))
async def exit_(session: Session, *, keep: bool = False) -> Leave:
    """Leave the shell and stop what it started. --keep leaves coordinators and workers running, for the next shell to use.

    Ctrl-D leaves, too. Coordinators of other shells run on.

        exit --keep

    See also: coordinator list, worker list
    """
    return Leave(keep=keep)


def describe(words: list[str]) -> Note:
    """The help of one command, or of a noun's verbs. Raises UsageError with the nearest name."""
    if len(words) == 1 and (verbs := registry.below(words[0])) and registry.named(words[0]) in (None, *verbs):
        return Note("\n".join(_line(each) for each in verbs), {"commands": [_json(each) for each in verbs]})
    command = registry.find(words)
    if command is None:
        registry.parse_words(words)  # raises, with the nearest name
        raise UsageError(f"no command {' '.join(words)}", hint="try: help")
    return Note(details(command), _json(command))


def details(command: Command) -> str:
    """A page: usage, what it does, what each flag means, examples, and what else there is. A paragraph is one line."""
    aliases = registry.aliases_of(command.name)
    said = [part if part.startswith(" ") else " ".join(part.split()) for part in command.details.split("\n\n")]
    prose = list(itertools.takewhile(lambda part: not part.startswith((" ", "See also:")), said))
    flags = "\n".join(_flag(flag) for flag in command.flags.values())
    also = f"Also: {', '.join(aliases)}" if aliases else ""
    return "\n\n".join(filter(None, [command.usage, command.summary, *prose, flags, *said[len(prose) :], also]))


def overview() -> str:
    """Every command with what it does, by theme."""
    commands = sorted(registry, key=lambda command: command.name)
    blocks = ["\n".join([group, *(f"  {_line(command)}" for command in commands if command.group == group)]) for group in GROUPS]
    return "\n\n".join([*blocks, CLOSING])


def _line(command: Command) -> str:
    first = command.summary.split(". ")[0].rstrip(".")
    return f"{command.name:<{NAMES}}{first}"


def _flag(flag: Param) -> str:
    default = f" (default: {flag.default})" if flag.default else ""
    form, words = flag.form, ""
    if len(form) > FLAGS and flag.choices:
        form, words = f"--{flag.name} <{flag.value or flag.name}>", f": {', '.join(flag.choices)}"
    return f"    {form:<{FLAGS}}  {flag.meaning}{words}{default}"


def _json(command: Command) -> dict[str, object]:
    return {"name": command.name, "usage": command.usage, "summary": command.summary, "details": command.details, "group": command.group}
