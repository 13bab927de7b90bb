"""One shell line: read it, run it, show what it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synaptic.commands.parse import Call, call_words
from synaptic.commands.registry import Registry
from synaptic.errors import SynapticError, UsageError
from synaptic.shell.face import Face
from synaptic.shell.quotes import is_quoted, unquote

if TYPE_CHECKING:
    from synaptic.session import Session


async def run_line(session: Session, registry: Registry, face: Face, line: str) -> int:
    """The exit code of a command or prompt. Only cancellation gets out."""
    try:
        line, face = _take_json(registry, face, line.strip())
        if not line:
            return 0
        with face.progress(session.bus):
            result = await read(registry, line).run(session)
            return await face.show(result, session.bus)
    except SynapticError as error:
        return face.fail(error)
    except Exception as error:  # the shell survives what no command foresaw
        return face.crash(error)


def read(registry: Registry, line: str) -> Call:
    """A command if its first word is one; else a prompt, verbatim. Raises UsageError."""
    line = line.encode(errors="surrogateescape").decode(errors="replace")  # bytes that stdin's encoding could not read
    if is_quoted(line) or not registry.is_command(line):
        return _prompt(registry, unquote(line) if is_quoted(line) else line)
    words = line.removeprefix("/").split()
    command = registry.find(words)
    asks_for_help = words[-1] in ("--help", "-h") and (command is None or not command.takes_text or len(words) == 2)
    if asks_for_help and (help_ := registry.named("help")):
        return call_words(help_, words[:-1])
    call = registry.parse_line(line)
    if call.command.takes_text and call.positional == ("-",):
        raise UsageError(f"{call.command.name} - reads a prompt from stdin, and here stdin is the shell", hint="try: synaptic ask - < FILE")
    return call


def _prompt(registry: Registry, text: str) -> Call:
    ask = registry.named("ask")
    assert ask, "every registry has ask: a line that is no command is one"
    return Call(ask, (text,), {})


def _take_json(registry: Registry, face: Face, line: str) -> tuple[str, Face]:
    """`--json` at the end of a command, where it cannot be part of a prompt."""
    head, _, last = line.rpartition(" ")
    if last != "--json" or not registry.is_command(head):
        return line, face
    command = registry.find(head.removeprefix("/").split())
    return (line, face) if command and command.takes_text else (head.strip(), face.in_json())
