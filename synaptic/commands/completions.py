"""completions: scripts for the user's own shell, made from the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import Choice
from synaptic.commands.registry import registry
from synaptic.results import Note

if TYPE_CHECKING:
    from synaptic.session import Session


@registry.command("completions", group="shell")
async def completions(session: Session, shell: Annotated[str, Choice("bash", "zsh", "fish")]) -> Note:
    """Print a completion script for your own shell.

    synaptic completions bash > ~/.local/share/bash-completion/completions/synaptic
    synaptic completions fish > ~/.config/fish/completions/synaptic.fish
    """
    text = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()
    return Note(text, {"shell": shell, "script": text})


def _words() -> dict[str, list[str]]:
    """Noun → verbs; a command of one word has none."""
    words: dict[str, list[str]] = {}
    for command in registry:
        words.setdefault(command.noun, []).extend(command.name.split()[1:])
    return words


def _bash() -> str:
    cases = "\n".join(f"        {noun}) words='{' '.join(verbs)}' ;;" for noun, verbs in _words().items() if verbs)
    return f"""_synaptic() {{
    local words=''
    if [ "$COMP_CWORD" -eq 1 ]; then words='{" ".join(_words())}'; else case "${{COMP_WORDS[1]}}" in
{cases}
    esac; fi
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _synaptic synaptic"""


def _zsh() -> str:
    return "#compdef synaptic\nautoload -U +X bashcompinit && bashcompinit\n" + _bash()


def _fish() -> str:
    lines = []
    for command in registry:
        noun, *verb = command.name.split()
        condition = f"__fish_seen_subcommand_from {noun}" if verb else "__fish_use_subcommand"
        summary = command.summary.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"complete -c synaptic -f -n '{condition}' -a '{verb[0] if verb else noun}' -d '{summary}'")
    nouns = sorted({command.noun for command in registry if " " in command.name})
    lines += [f"complete -c synaptic -f -n '__fish_use_subcommand' -a '{noun}'" for noun in nouns]
    return "\n".join(lines)
