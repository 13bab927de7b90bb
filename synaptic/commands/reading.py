"""A line as a person types it, in the shell or in the dashboard → a call."""

from __future__ import annotations

import re

from synaptic.commands.overtaken import instead_of_line, ours_in
from synaptic.commands.parse import Call, call_words
from synaptic.commands.quotes import is_quoted, unquote
from synaptic.commands.registry import Registry
from synaptic.errors import UsageError
from synaptic.terminal import one_line

_PASTED = re.compile(r"^(?:SynapticLlamas|synaptic)> *(?=\S)")  # the prompt, copied along with the line


def read(registry: Registry, line: str) -> Call:
    """A command if its first word is one; else a prompt, verbatim. Raises UsageError."""
    line = line.encode(errors="surrogateescape").decode(errors="replace")  # bytes that stdin's encoding could not read
    line = _PASTED.sub("", line, count=1)
    if is_quoted(line):
        return _prompt(registry, unquote(line))
    if not registry.is_command(line):
        _check_is_for_the_model(registry, line)
        return _prompt(registry, line)
    words = line.removeprefix("/").split()
    command = registry.find(words)
    asks_for_help = words[-1] in ("--help", "-h") and (command is None or not command.takes_text or len(words) == 2)
    if asks_for_help and (help_ := registry.named("help")):
        return call_words(help_, words[:-1])
    call = registry.parse_line(line)
    if call.command.takes_text and call.positional == ("-",):
        raise UsageError(f"{call.command.name} - reads a prompt from stdin, and here stdin is the shell", hint="try: synaptic ask - < FILE")
    return call


def _check_is_for_the_model(registry: Registry, line: str) -> None:
    """Raises UsageError for what belongs into another shell, or is a command but for a letter; says what does the same here."""
    rest = ours_in(line)
    if rest is not None and (not rest or rest.startswith("-") or registry.is_command(rest)):
        is_line = bool(rest) and not rest.startswith("-")
        hint = f"try: {rest}" if is_line else "try: help; flags are for the start: exit first"
        raise UsageError("this is the shell of synaptic already", hint=hint, prefill=rest if is_line else None)
    if instead := instead_of_line(line):
        raise UsageError(f"{one_line(line.split()[0], 60)} is no command here", hint=instead, prefill=f"ask {line}")
    if meant := registry.meant(line):
        said = one_line(line, 60)
        raise UsageError(f"{said} is no command", hint=f"did you mean: {one_line(meant, 60)}   for the model: ask {said}", prefill=meant)


def take_flags(registry: Registry, line: str, *flags: str) -> tuple[str, set[str]]:
    """The line without those of `flags` (such as `--json`) that end a command, where they cannot be part of a prompt; which they were."""
    taken: set[str] = set()
    head, _, last = line.rpartition(" ")
    while last in flags and registry.is_command(head):
        command = registry.find(head.removeprefix("/").split())
        if command and command.takes_text:
            break
        taken.add(last)
        line = head.strip()
        head, _, last = line.rpartition(" ")
    return line, taken


def _prompt(registry: Registry, text: str) -> Call:
    ask = registry.named("ask")
    assert ask, "every registry has ask: a line that is no command is one"
    return Call(ask, (text,), {})
