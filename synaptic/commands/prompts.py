"""prompts: questions with a name, asked again with other words."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import AnyNumber, Complete, Completion, Text
from synaptic.commands.registry import registry
from synaptic.errors import SynapticError, UsageError
from synaptic.results import Note, Rows, Stream
from synaptic.terminal import one_line

if TYPE_CHECKING:
    from synaptic.engines.prompts import Prompt, Prompts
    from synaptic.session import Session


def names(session: Session) -> list[Completion]:
    return [(prompt.name, one_line(prompt.text, 60)) for prompt in prompts_of(session).all()]


def placeholders(session: Session) -> list[Completion]:
    """Those of every prompt: which of them is used stands before, where completion does not look."""
    found: dict[str, list[str]] = {}
    for prompt in prompts_of(session).all():
        for name in prompt.placeholders:
            found.setdefault(name, []).append(prompt.name)
    return [(f"{name}=", f"in {', '.join(users)}") for name, users in found.items()]


@registry.command("prompts save", group="answers")
async def save(session: Session, name: Annotated[str, Complete(names)], text: Annotated[str, Text()]) -> Note:
    """Keep a prompt under a name. {word} in it is a placeholder, {{word}} the text {word}; other braces are just braces.

        prompts save eli5 Explain {topic} to a child of {age}.
        prompts use eli5 topic="black holes" age=8

    See also: prompts use, prompts list
    """
    prompts = prompts_of(session)
    saved = await asyncio.to_thread(prompts.save, name, text)
    if saved is None:
        if not await session.confirm(f"replace the prompt {name}?"):
            return Note("nothing changed", {"saved": None})
        saved = await asyncio.to_thread(lambda: prompts.save(name, text, replace=True))
    assert saved, "a save that replaces finds its place"
    words = ", ".join(saved.placeholders)
    return Note(f"saved {name}" + (f" with {words}" if words else ""), {"saved": saved}, hint=f"try: {_example(saved)}")


@registry.command("prompts list", group="answers")
async def list_(session: Session) -> Rows[Prompt]:
    """Show the saved prompts. They are plain text files and may be edited as such.

        prompts list
        prompts list --json

    See also: prompts save, prompts use
    """
    prompts = prompts_of(session)
    return Rows(
        key="prompts",
        items=await asyncio.to_thread(prompts.all),
        columns={
            "name": lambda prompt: prompt.name,
            "placeholders": lambda prompt: ", ".join(prompt.placeholders) or "–",
            "text": lambda prompt: one_line(prompt.text, 60),
        },
        empty="no prompts yet. try: prompts save NAME TEXT",
        data={"folder": prompts.folder},
    )


@registry.command("prompts use", group="answers")
async def use(
    session: Session, name: Annotated[str, Complete(names)], *value: Annotated[str, AnyNumber(), Complete(placeholders)]
) -> Stream:
    """Ask a saved prompt. Each placeholder gets its words as key=words; words with spaces stand in quotes.

        prompts use eli5 topic="black holes" age=8

    See also: prompts save, ask
    """
    from synaptic.commands.ask import ask

    prompt = await asyncio.to_thread(prompts_of(session).find, name)
    text = prompt.filled(_values(prompt, value)).strip()
    if text in ("", "-"):  # `ask -` would read stdin
        raise UsageError(f"{name} is empty, filled in like this", hint=f"it is the file {prompt.path}")
    return await ask(session, text)


@registry.command("prompts remove", group="answers")
async def remove(session: Session, name: Annotated[str, Complete(names)]) -> Note:
    """Forget a saved prompt. Its text stays in a backup beside it, until the next one of this name.

        prompts remove eli5

    See also: prompts list, prompts save
    """
    kept = await asyncio.to_thread(prompts_of(session).remove, name)
    return Note(f"removed {name}", {"removed": name, "backup": kept}, hint=f"its text is in {kept}")


def prompts_of(session: Session) -> Prompts:
    from synaptic.engines.prompts import Prompts

    if (folder := session.environment.data_dir) is None:
        raise SynapticError("there is no home folder to keep prompts in", hint="set SYNAPTICLLAMAS_HOME to a folder")
    return Prompts(folder / "prompts")


def _values(prompt: Prompt, words: tuple[str, ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key in values:
            wrong = f"{one_line(key, 40)} is given twice" if equals else f'"{one_line(word, 40)}" is no key=words'
            raise UsageError(wrong, hint=_example(prompt))
        values[key] = text
    return values


def _example(prompt: Prompt) -> str:
    return " ".join(["prompts use", prompt.name, *(f"{key}=…" for key in prompt.placeholders)])
