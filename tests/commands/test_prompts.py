"""prompts save, list, use and remove, as they are typed."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from synaptic.commands import load, prompts
from synaptic.environment import Environment
from synaptic.errors import SynapticError, UsageError
from synaptic.results import Note, Result, Rows
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio
Type = Callable[[str], Awaitable[Result]]


def session_in(home: Path | None) -> Session:
    variables = {"SYNAPTICLLAMAS_HOME": str(home), "PATH": ""} if home else {"HOME": "/nonexistent", "PATH": ""}
    environment = Environment(variables, sys.stdin, sys.stdout, sys.stderr)
    return Session(environment, Settings.load(None, {}))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return session_in(tmp_path)


@pytest.fixture
def type_(session: Session) -> Type:
    return lambda line: load().parse_line(line).run(session)


async def test_a_prompt_is_saved_as_it_is_typed(session: Session, type_: Type, tmp_path: Path) -> None:
    note = await type_("prompts save eli5   What's  {topic},\nfor a child of {age}? --model x")
    assert isinstance(note, Note)
    assert (note.text, note.hint) == ("saved eli5 with topic, age", "try: prompts use eli5 topic=… age=…")
    assert (tmp_path / "data" / "prompts" / "eli5.md").read_text() == "What's  {topic},\nfor a child of {age}? --model x\n"
    listed = await type_("prompts list")
    assert isinstance(listed, Rows)
    assert [[cell.text for cell in line] for line in listed.cells()] == [
        ["eli5", "topic, age", "What's  {topic}, for a child of {age}? --model x"]
    ]
    assert listed.as_json()["prompts"][0]["placeholders"] == ["topic", "age"]  # type: ignore[call-overload, index]


async def test_words_from_argv_are_one_text(session: Session, tmp_path: Path) -> None:
    await load().parse_words(["prompts", "save", "a", "one  two", "three"]).run(session)
    assert prompts.prompts_of(session).find("a").text == "one  two three"


async def test_overwriting_asks(session: Session, type_: Type) -> None:
    asked: list[str] = []

    async def answer(question: str) -> bool:
        asked.append(question)
        return len(asked) > 1

    await type_("prompts save a first")
    with pytest.raises(UsageError, match="nobody to ask"):
        await type_("prompts save a second")
    session.confirm = answer
    assert isinstance(note := await type_("prompts save a second"), Note)
    assert note.text == "nothing changed"
    assert prompts.prompts_of(session).find("a").text == "first"
    await type_("prompts save a second")
    assert prompts.prompts_of(session).find("a").text == "second"
    assert asked == ["replace the prompt a?"] * 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("prompts use ask topic=x", "ask needs age"),
        ("prompts use ask topic=x age=3 topic=y", "topic is given twice"),
        ("prompts use ask stars", '"stars" is no key=words'),
        ("prompts use ask topic=x age=3 size=2", "no placeholder size"),
        ("prompts use nonesuch", "no prompt is called nonesuch"),
        ("prompts use empty text=", "empty is empty"),
        ("prompts use empty text=-", "empty is empty"),
        ("prompts save ask", "prompts save needs <text>"),
        ("prompts save ../ask x", "cannot be the name"),
    ],
)
async def test_what_cannot_be_asked_says_why(type_: Type, line: str, says: str) -> None:
    await type_("prompts save ask {topic} {age}")
    await type_("prompts save empty {text}")
    with pytest.raises(UsageError, match=says) as caught:
        await type_(line)
    assert caught.value.hint


async def test_remove_tells_where_the_text_is(type_: Type, tmp_path: Path) -> None:
    await type_("prompts save a text")
    note = await type_("prompts remove a")
    assert isinstance(note, Note)
    assert note.hint == f"its text is in {tmp_path}/data/prompts/a.md.bak"


async def test_names_and_placeholders_complete(session: Session, type_: Type) -> None:
    await type_("prompts save a {topic} {age}")
    await type_("prompts save b {topic}")
    assert prompts.names(session) == [("a", "{topic} {age}"), ("b", "{topic}")]
    assert prompts.placeholders(session) == [("topic=", "in a, b"), ("age=", "in a")]


async def test_without_a_home_there_is_no_place_for_them() -> None:
    with pytest.raises(SynapticError, match="no home folder"):
        await load().parse_line("prompts list").run(session_in(None))
