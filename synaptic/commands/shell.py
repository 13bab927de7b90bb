"""help and exit."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import AnyNumber, Command, Complete, Completion
from synaptic.commands.registry import registry
from synaptic.errors import UsageError
from synaptic.results import Leave, Note

if TYPE_CHECKING:
    from synaptic.session import Session

GROUPS = ("answers", "models", "workers", "deploy", "measure", "look", "settings", "engines", "shell")
WIDTH, NAMES = 80, 21  # columns of a page of help, and of its names


def names(session: Session) -> list[Completion]:
    return [(command.name, command.summary) for command in registry]


@registry.command("help", group="shell", aliases=("?",))
async def help_(session: Session, *command: Annotated[str, AnyNumber(), Complete(names)]) -> Note:
    """Show all commands, or how one of them is used.

    help
    help rpc add
    """
    if not command:
        return Note(overview(), {"commands": [_json(each) for each in registry]})
    return describe(list(command))


@registry.command("exit", group="shell", aliases=("quit", "q"))
async def exit_(session: Session, *, keep: bool = False) -> Leave:
    """Leave the shell and stop what it started. --keep leaves coordinators and workers running, for the next shell to use.

    Ctrl-D leaves, too. Coordinators of other shells run on.
    """
    return Leave(keep=keep)


def describe(words: list[str]) -> Note:
    """The help of one command, or of a noun's verbs. Raises UsageError with the nearest name."""
    if len(words) == 1 and (verbs := registry.below(words[0])) and not registry.named(words[0]):
        return Note("\n".join(_line(each) for each in verbs), {"commands": [_json(each) for each in verbs]})
    command = registry.find(words)
    if command is None:
        registry.parse_words(words)  # raises, with the nearest name
        raise UsageError(f"no command {' '.join(words)}", hint="try: help")
    return Note(details(command), _json(command))


def details(command: Command) -> str:
    aliases = registry.aliases_of(command.name)
    parts = [command.usage, command.summary, command.details]
    if aliases:
        parts.append(f"Also: {', '.join(aliases)}")
    return "\n\n".join(part for part in parts if part)


def overview() -> str:
    """Every command with what it does, by theme, for a page of 80 columns."""
    commands = sorted(registry, key=lambda command: command.name)
    blocks = ["\n".join(_line(command) for command in commands if command.group == group) for group in GROUPS]
    return "\n\n".join([*blocks, "help COMMAND tells more. Any other line is sent to the model."])


def _line(command: Command) -> str:
    first = command.summary.split(". ")[0].rstrip(".")
    return textwrap.fill(f"{command.name:<{NAMES}}{first}", WIDTH, subsequent_indent=" " * NAMES)


def _json(command: Command) -> dict[str, object]:
    return {"name": command.name, "usage": command.usage, "summary": command.summary, "details": command.details, "group": command.group}
