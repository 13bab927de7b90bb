"""What each agent is told. Short: every word of it takes room in the context of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from synaptic.engines.engine import Message

RESEARCHER, CRITIC, EDITOR, VOICE = "researcher", "critic", "editor", "voice"

_RESEARCH = (
    "You are the researcher of a team that answers a question. Write a first, complete answer. "
    "Be accurate and concrete. Where you are not sure, say so; do not guess."
)
_CRITICISE = (
    "You are the critic of a team that answers a question. Do not answer it. In a short list, say what a good answer "
    "must contain, which mistakes are common, and what is uncertain or disputed."
)
_REVIEW = (
    "You are the critic of a team that answers a question. Read the draft of an answer. In a short list, say what is "
    "wrong, missing or unclear, the most important first. If nothing is, say so."
)
_REVISE = (
    "You are the researcher of a team that answers a question. Rewrite the draft: follow the critic where the critic is "
    "right, keep what was good. Write only the new answer."
)
_EDIT = (
    "You are the editor of a team that answers a question. Write the final answer from what the team wrote. Keep what is "
    "right, leave out what is doubtful or said twice, settle contradictions. Write only the answer; do not mention the team."
)


@dataclasses.dataclass(frozen=True)
class Task:
    """A question, what was said before it, and how the user wants answers to be (the system prompt)."""

    question: str
    before: tuple[Message, ...] = ()
    manner: str | None = None


def research(task: Task) -> tuple[Message, ...]:
    return _told(_RESEARCH, task, task.question)


def criticise(task: Task) -> tuple[Message, ...]:
    return _told(_CRITICISE, task, task.question)


def review(task: Task, draft: str) -> tuple[Message, ...]:
    return _told(_REVIEW, task, _sheet(task, ("Draft", draft)))


def revise(task: Task, draft: str, points: str) -> tuple[Message, ...]:
    return _told(_REVISE, task, _sheet(task, ("Draft", draft), ("The critic's points", points)))


def answer(task: Task) -> tuple[Message, ...]:
    """Without a role, as any prompt is asked."""
    return _told("", task, task.question)


def edit(task: Task, answers: Sequence[str], points: str) -> tuple[Message, ...]:
    titles = ["Draft"] if len(answers) == 1 else [f"Answer {number}" for number in range(1, len(answers) + 1)]
    return _told(_EDIT, task, _sheet(task, *zip(titles, answers, strict=True), ("The critic's points", points)))


def _sheet(task: Task, *parts: tuple[str, str]) -> str:
    return "\n\n".join(f"{title}:\n{text}" for title, text in (("Question", task.question), *parts) if text)


def _told(role: str, task: Task, text: str) -> tuple[Message, ...]:
    system = "\n\n".join(filter(None, (role, task.manner)))
    return (*((Message("system", system),) if system else ()), *task.before, Message("user", text))
