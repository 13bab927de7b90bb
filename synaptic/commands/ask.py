"""ask: a prompt, and the conversation it belongs to."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import models
from synaptic.commands.grammar import Choice, Complete, Text
from synaptic.commands.registry import registry
from synaptic.errors import SynapticError, UsageError
from synaptic.events import Noticed
from synaptic.models.model import ENGINES
from synaptic.results import Note, Stream, plural

if TYPE_CHECKING:
    from synaptic.session import Session

_USING = re.compile(r"""\s+using\s+("[^"]+"|'[^']+'|\S+)\s*$""", re.IGNORECASE)
_TAGGED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*:[A-Za-z0-9._-]+")  # llama3.1:405b: a model, and nothing one asks about
LONGEST_STDIN = 8 * 1024 * 1024  # characters
KEEP_FREE = 0.5  # of the context stays free for the answer


@registry.command("ask", group="answers")
async def ask(
    session: Session,
    text: Annotated[str, Text()],
    *,
    model: Annotated[str | None, Complete(models)] = None,
    via: Annotated[str | None, Choice(*ENGINES)] = None,
    fresh: bool = False,
) -> Stream:
    """Send a prompt to the model. A line that is no command is asked as it is; `-` reads the prompt from stdin.

    `… using NAME` at the end picks a model for this prompt, if that model is known. --fresh asks without the
    conversation so far. --via names the engine, whatever the settings say.

        ask status of the art in quantum computing
        ask --model demo --via llama.cpp What is a worker?
        What is a worker? using demo

    See also: retry, clear, model use
    """
    if text == "-":
        text = (await asyncio.to_thread(session.environment.stdin.read, LONGEST_STDIN)).strip()
    text, named = await split_model(session, text)
    if not text:
        raise UsageError("the prompt is empty", hint="usage: ask <text>")
    if fresh:
        session.conversation.clear()
    return await _answer(session, text, model or named, via)


@registry.command("retry", group="answers")
async def retry(session: Session, *, model: Annotated[str | None, Complete(models)] = None) -> Stream:
    """Ask the last question again, without the answer it got.

        retry
        retry --model llama3.1:8b

    See also: ask, clear
    """
    question = session.conversation.last_question
    if question is None:
        raise UsageError("there is nothing to retry yet", hint="just type a question")
    session.conversation.drop_last()
    return await _answer(session, question, model)


@registry.command("clear", group="answers")
async def clear(session: Session) -> Note:
    """Forget the conversation so far; the next prompt starts a new one.

    See also: ask, retry
    """
    turns = len(session.conversation)
    session.conversation.clear()
    return Note(
        f"the conversation is empty; {plural(turns, 'turn')} forgotten" if turns else "the conversation is empty", {"forgotten": turns}
    )


async def split_model(session: Session, text: str) -> tuple[str, str | None]:
    """`… using NAME` → the prompt and the name, if such a model is known; else the text as it is."""
    from synaptic.engines.answering import NODES_FRESH

    match = _USING.search(text)
    name = match[1].strip("\"'") if match else ""
    if match and not session.knows_model(name):
        await session.nodes.refresh(max_age=NODES_FRESH)  # they may have it; a fresh program has asked none yet
    if match and session.knows_model(name):
        return text[: match.start()].strip(), name
    if match and _TAGGED.fullmatch(name):
        session.bus.publish(Noticed(text=f"no model named {name} here, so the whole line is asked; try: model pull {name}"))
    return text, None


async def _answer(session: Session, question: str, model: str | None, via: str | None = None) -> Stream:
    from synaptic.commands.collab import agents_stream, collaborates
    from synaptic.engines.answer import Reply
    from synaptic.planning.plan import context_of

    session.know_backends()
    if collaborates(session):
        return await agents_stream(session, question, model, via)
    try:
        route = await session.answering.route(model, via=via)
    except SynapticError:
        session.conversation.add(question, "", complete=False)  # retry asks it again
        raise
    budget = int(context_of(route.model, session.settings.now.context) * (1 - KEEP_FREE))
    messages = session.conversation.messages(question, session.settings.now.system_prompt, budget)
    reply = Reply(
        session.answering, route, messages, remember=lambda text, complete: session.conversation.add(question, text, complete=complete)
    )
    why = route.why.removeprefix(f"on {route.where}: ")  # which is said just before
    return Stream(f"→ {route.model.name} · {route.via} · {route.where} ({why})", reply.pieces(), reply.outcome)
