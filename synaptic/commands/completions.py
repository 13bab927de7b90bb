"""completions: scripts for the user's own shell, made from the registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import Choice, Command, Completion
from synaptic.commands.registry import registry
from synaptic.results import Note

if TYPE_CHECKING:
    from synaptic.session import Session


@registry.command("completions", group="shell")
async def completions(session: Session, shell: Annotated[str, Choice("bash", "zsh", "fish")]) -> Note:
    """Print a completion script for your own shell.

        synaptic completions bash > ~/.local/share/bash-completion/completions/synaptic
        synaptic completions zsh > ~/.zfunc/_synaptic
        synaptic completions fish > ~/.config/fish/completions/synaptic.fish

    For zsh, ~/.zfunc must be in its fpath before compinit runs.

    See also: help
    """
    text = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()
    return Note(text, {"shell": shell, "script": text}, is_verbatim=True)


def _first() -> list[Completion]:
    return [(noun, registry.about(noun)) for noun in dict.fromkeys(command.noun for command in registry)]


def _second() -> Iterator[tuple[str, list[Completion]]]:
    """What may follow a first word: verbs, or the choices of a command of one word."""
    for noun, _ in _first():
        alone = registry.named(noun)
        verbs = [(command.name.split()[1], _said(command)) for command in registry.below(noun)]
        choices = [(word, "") for word in alone.arguments[0].choices] if alone and alone.arguments else []
        if follow := _first() if noun == "help" else verbs or choices:
            yield noun, follow


def _flags(command: Command) -> list[Completion]:
    return [(name, flag.meaning) for name, flag in command.flags.items()]


def _values() -> dict[str, tuple[str, ...]]:
    return {name: flag.choices for command in registry for name, flag in command.flags.items() if flag.choices}


def _with_flags() -> list[Command]:
    """Those of two words first: `dllama worker` is not `dllama`."""
    return sorted((command for command in registry if command.flags), key=lambda command: -len(command.name.split()))


def _said(command: Command) -> str:
    return command.summary.split(". ")[0].rstrip(".")


def _bash() -> str:
    second = "\n".join(f"        {noun}) words={_words(follow)} ;;" for noun, follow in _second())
    values = "\n".join(f"        {name}) words={_quoted(' '.join(choices))} ;;" for name, choices in _values().items())
    flags = "\n".join(f"        {_quoted(command.name + ' ')}*) words={_words(_flags(command))} ;;" for command in _with_flags())
    return f"""_synaptic() {{
    local words='' current="${{COMP_WORDS[COMP_CWORD]}}"
    if [ "$COMP_CWORD" -eq 1 ]; then words={_words(_first())}
    elif [ "$COMP_CWORD" -eq 2 ]; then case "${{COMP_WORDS[1]}}" in
{second}
    esac; fi
    case "${{COMP_WORDS[COMP_CWORD - 1]}}" in
{values}
    esac
    case "$current" in -*) case "${{COMP_WORDS[*]:1}} " in
{flags}
    esac; esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _synaptic synaptic"""


def _zsh() -> str:
    second = "\n".join(f"        {noun}) found=({_described(follow)}) ;;" for noun, follow in _second())
    values = "\n".join(f"        {name}) found=({' '.join(choices)}) ;;" for name, choices in _values().items())
    flags = "\n".join(f"        {_quoted(command.name + ' ')}*) found=({_described(_flags(command))}) ;;" for command in _with_flags())
    return f"""#compdef synaptic
_synaptic() {{
    local -a found
    if (( CURRENT == 2 )); then found=({_described(_first())})
    elif (( CURRENT == 3 )); then case "$words[2]" in
{second}
    esac; fi
    case "$words[CURRENT - 1]" in
{values}
    esac
    case "$PREFIX" in -*) case "$words[2,-1] " in
{flags}
    esac; esac
    if (( $#found )); then _describe synaptic found; else _files; fi
}}
if [ "$funcstack[1]" = _synaptic ]; then _synaptic "$@"; else compdef _synaptic synaptic; fi"""


def _fish() -> str:
    lines = [_FISH, *(_candidate("", *each) for each in _first())]
    lines += [_candidate(noun, *each) for noun, follow in _second() for each in follow]
    for command in registry:
        for name, flag in command.flags.items():
            value = "" if flag.is_switch else f" -xa {_escaped(' '.join(flag.choices))}" if flag.choices else " -r"
            condition = _escaped(f"__synaptic_in {command.name}")
            lines.append(f"complete -c synaptic -n {condition} -l {name[2:]} -d {_escaped(flag.meaning)}{value}")
    return "\n".join(lines)


_FISH = """\
function __synaptic_at
    set -l words (commandline -opc)
    set -e words[1]
    test "$words" = "$argv"
end
function __synaptic_in
    set -l words (commandline -opc)
    set -e words[1]
    string match -q -- "$argv *" "$words "
end"""


def _candidate(after: str, word: str, meaning: str) -> str:
    return f"complete -c synaptic -f -n {_escaped(f'__synaptic_at {after}'.rstrip())} -a {_escaped(word)} -d {_escaped(meaning)}"


def _words(candidates: Iterable[Completion]) -> str:
    return _quoted(" ".join(word for word, _ in candidates))


def _described(candidates: Iterable[Completion]) -> str:
    return " ".join(_quoted(f"{word}:{meaning}" if meaning else word) for word, meaning in candidates)


def _quoted(text: str) -> str:
    """For bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def _escaped(text: str) -> str:
    """For fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
