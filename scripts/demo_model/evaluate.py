"""How much of its FAQ the model knows:  python -m scripts.demo_model.evaluate demo.pt [--wrong]"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from scripts.demo_model.data import misspelt
from scripts.demo_model.faq import FILE, REFUSAL, read
from scripts.demo_model.model import Llama, load
from scripts.demo_model.tokenizer import Tokenizer
from scripts.demo_model.words import OFF_TOPIC_HELD_OUT

LONGEST = 120  # tokens of an answer

Turn = tuple[str, str]  # a question, and the answer to it


class Pupil:
    def __init__(self, model: Llama, tokenizer: Tokenizer) -> None:
        self._model = model
        self._tokenizer = tokenizer

    def answer(self, question: str, history: Iterable[Turn] = ()) -> str:
        tokenizer, end = self._tokenizer, self._tokenizer.end_of_turn
        user, assistant = tokenizer.turn("user"), tokenizer.turn("assistant")
        tokens = [tokenizer.begin]
        for asked, answered in history:
            tokens += [*user, *tokenizer.encode(asked), end, *assistant, *tokenizer.encode(answered), end]
        tokens += [*user, *tokenizer.encode(question), end, *assistant]
        return tokenizer.decode(self._model.generate(tokens, LONGEST, {end, tokenizer.end, tokenizer.begin}))


def main() -> None:
    torch.set_num_threads(1)
    pupil, faq, chance = Pupil(load(Path(sys.argv[1])), Tokenizer.load()), read(FILE), random.Random(99)
    held_out = [(wording, entry.answer) for entry in faq for wording in entry.held_out]
    exams = {
        "first wording": [(entry.questions[0], entry.answer) for entry in faq],
        "held-out wording": held_out,
        "held-out, lower case": [(wording.lower().rstrip("?."), answer) for wording, answer in held_out],
        "held-out, misspelt": [(misspelt(wording, chance), answer) for wording, answer in held_out],
        "off topic": [(question, REFUSAL) for question in OFF_TOPIC_HELD_OUT],
        "every wording": [(wording, entry.answer) for entry in faq for wording in entry.questions],
    }
    for name, exam in exams.items():
        _grade(name, exam, [pupil.answer(question) for question, _ in exam])
    talks = [[(chance.choice(entry.questions), entry.answer) for entry in chance.sample(faq, 2)] for _ in held_out]
    _grade("held-out, third turn", held_out, [pupil.answer(question, talk) for (question, _), talk in zip(held_out, talks, strict=True)])


def _grade(name: str, exam: Sequence[Turn], answers: Sequence[str]) -> None:
    wrong = [(question, answer) for (question, wanted), answer in zip(exam, answers, strict=True) if answer != wanted]
    print(f"{name:22} {len(exam) - len(wrong):4} of {len(exam):4}", flush=True)
    if "--wrong" in sys.argv:
        for question, answer in wrong:
            print(f"    {question!r} → {answer[:100]}")


if __name__ == "__main__":
    main()
