"""Conversations as text, and where an answer ends."""

from __future__ import annotations

import pytest

from synaptic.dllama.chat import Message, Prompt, StopDetector, Style, Template, UnknownTemplateError, Verdict, prompt, template_of
from synaptic.dllama.tokenizer_file import Vocabulary

TALK = [Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Why?")]
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"


def vocabulary(template: str = "", ends: tuple[bytes, ...] = (b"</s>",)) -> Vocabulary:
    tokens = (b"a", b"<s>", *ends)
    return Vocabulary(tokens, (0.0,) * len(tokens), 1, tuple(range(2, len(tokens))), True, template.encode())


def told(template: Template, style: Style, talk: list[Message] = TALK) -> str:
    return prompt(vocabulary(), talk, template, style).text.decode()


def test_the_kind_is_found_by_a_mark_in_the_template() -> None:
    assert [template_of(vocabulary(f"{{ x }} {kind.value} y")) for kind in Template] == list(Template)
    assert template_of(vocabulary("<|im_start|> [INST]")) is Template.LLAMA2
    for text, sentence in (("", "has no chat template"), ("{{ messages }}", "is not of llama2")):
        with pytest.raises(UnknownTemplateError, match=sentence):
            prompt(vocabulary(text), TALK)


def test_llama3_is_the_same_in_both_styles() -> None:
    turns = "".join(f"<|start_header_id|>{each.role}<|end_header_id|>\n\n{each.text}</s>" for each in TALK)
    wanted = turns + "<|start_header_id|>assistant<|end_header_id|>\n\n"
    assert told(Template.LLAMA3, Style.CORRECT) == told(Template.LLAMA3, Style.COMPATIBLE) == wanted


def test_chatml_begins_an_answer_only_after_the_last_message() -> None:
    answer = "<|im_start|>assistant\n"
    turns = [f"<|im_start|>{each.role}\n{each.text}<|im_end|>\n" for each in TALK]
    assert told(Template.CHATML, Style.CORRECT) == "".join(turns) + answer
    assert told(Template.CHATML, Style.COMPATIBLE) == "".join(turn + answer for turn in turns)
    assert told(Template.CHATML, Style.CORRECT, [Message("tool", "x"), TALK[1]]) == turns[1] + answer


def test_llama2_ends_the_assistants_words_only() -> None:
    begin = "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]"
    assert told(Template.LLAMA2, Style.CORRECT) == begin + "Yes?</s>[INST] Why? [/INST]"
    assert told(Template.LLAMA2, Style.COMPATIBLE) == begin + "</s>Yes?</s>[INST] Why? [/INST]</s>"
    assert told(Template.LLAMA2, Style.CORRECT, TALK[3:]) == "[INST] Why? [/INST]"


def test_deepseek_shows_that_it_thinks() -> None:
    end = f"{USER}Why?{ASSISTANT}<think>\n"
    assert prompt(vocabulary(), TALK, Template.DEEPSEEK3, Style.COMPATIBLE) == Prompt(
        f"Be brief.{USER}Hi{ASSISTANT}Yes?{end}".encode(), b"<think>\n"
    )
    assert told(Template.DEEPSEEK3, Style.CORRECT) == f"Be brief.{USER}Hi{ASSISTANT}Yes?</s>{end}"


def shown(detector: StopDetector, *pieces: bytes | None, token: int = 0) -> list[tuple[str, bytes]]:
    return [(verdict.name, text) for verdict, text in (detector.append(token, piece) for piece in pieces)]


def test_text_is_held_back_while_it_may_end_the_answer() -> None:
    detector = StopDetector(vocabulary())
    assert shown(detector, b"Hello", b"</", b"s", b">") == [("GOES_ON", b"Hello"), ("MAY_END", b""), ("MAY_END", b""), ("ENDS", b"")]
    assert shown(detector, b"x </", b"b") == [("MAY_END", b""), ("GOES_ON", b"x </b")]
    assert shown(detector, b"ab</s>cd") == [("ENDS", b"ab")]
    assert shown(detector, None) == [("GOES_ON", b"")]


def test_an_end_token_ends_it_with_all_that_was_held_back() -> None:
    detector = StopDetector(vocabulary())
    assert shown(detector, b"a <") == [("MAY_END", b"")]
    assert shown(detector, None, token=2) == [("ENDS", b"a <")]


def test_what_lies_too_deep_in_a_piece_is_not_looked_for() -> None:
    """As the original: no more than the longest end before it, and none in a text that is longer than three."""
    detector = StopDetector(vocabulary())
    assert shown(detector, b"abcde</s>") == [("GOES_ON", b"abcde</s>")]
    assert shown(detector, b"abcd</s>") == [("ENDS", b"abcd")]
    assert shown(detector, b"</s>123456789") == [("GOES_ON", b"</s>123456789")]


def test_more_texts_can_end_it_and_the_rest_is_not_lost() -> None:
    detector = StopDetector(vocabulary(), stops=(b"\n\n", b""))
    assert shown(detector, b"one\n") == [("MAY_END", b"")]
    assert detector.rest() == b"one\n"
    assert shown(detector, b"one\n\ntwo") == [("ENDS", b"one")]
    assert StopDetector(vocabulary(ends=())).append(0, b"x") == (Verdict.GOES_ON, b"x")
