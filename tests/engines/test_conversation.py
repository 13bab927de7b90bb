"""What the model is reminded of."""

from __future__ import annotations

import pytest

from synaptic.engines.conversation import Conversation, estimate
from synaptic.engines.engine import Message


@pytest.fixture
def conversation() -> Conversation:
    made = Conversation(count=lambda text: len(text.split()))
    made.add("one two", "three four")
    made.add("five", "six")
    return made


def said(messages: tuple[Message, ...]) -> list[str]:
    return [f"{message.role}: {message.content}" for message in messages]


TURNS = ["user: one two", "assistant: three four", "user: five", "assistant: six"]


def test_a_question_goes_with_everything_before_it(conversation: Conversation) -> None:
    assert said(conversation.messages("seven")) == [*TURNS, "user: seven"]
    assert said(conversation.messages("seven", "be brief")) == ["system: be brief", *TURNS, "user: seven"]
    assert said(Conversation().messages("alone")) == ["user: alone"]


@pytest.mark.parametrize(("budget", "kept"), [(7, TURNS), (6, TURNS[2:]), (3, TURNS[2:]), (2, []), (1, []), (0, [])])
def test_the_oldest_turns_make_room_but_the_question_stays(conversation: Conversation, budget: int, kept: list[str]) -> None:
    assert said(conversation.messages("seven", budget=budget)) == [*kept, "user: seven"]


def test_the_system_prompt_counts_and_stays(conversation: Conversation) -> None:
    assert said(conversation.messages("seven", "be brief", budget=3)) == ["system: be brief", "user: seven"]


def test_an_answer_that_broke_off_is_not_passed_off_as_one(conversation: Conversation) -> None:
    conversation.add("seven", "eig", complete=False)
    assert said(conversation.messages("nine")) == [*TURNS, "user: nine"]
    assert conversation.partial
    assert conversation.partial.answer == "eig"
    assert conversation.last_question == "seven"
    assert len(conversation) == 3


def test_a_retry_asks_the_last_question_again_without_its_answer(conversation: Conversation) -> None:
    conversation.drop_last()
    assert conversation.last_question == "five"
    assert said(conversation.messages("five")) == [*TURNS[:2], "user: five"]


def test_a_retry_that_fails_can_be_retried_and_loses_nothing_more(conversation: Conversation) -> None:
    conversation.drop_last()
    conversation.drop_last()
    assert conversation.last_question == "five"
    assert len(conversation) == 1
    conversation.add("five", "six again")
    assert conversation.last_question == "five"
    assert len(conversation) == 2


def test_nothing_is_left_after_clear(conversation: Conversation) -> None:
    conversation.drop_last()
    conversation.clear()
    assert (len(conversation), conversation.last_question, conversation.partial) == (0, None, None)
    conversation.drop_last()
    assert conversation.last_question is None


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("four", 1), ("fives", 2), ("x" * 400, 100)])
def test_a_token_is_about_four_characters(text: str, tokens: int) -> None:
    assert estimate(text) == tokens
