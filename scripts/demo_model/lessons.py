"""Training sequences: short conversations, with a weight for every token that is to be learnt."""

from __future__ import annotations

from random import Random

from scripts.demo_model.data import off_topic, reworded, sloppy
from scripts.demo_model.faq import FILE, REFUSAL, read
from scripts.demo_model.tokenizer import Tokenizer
from scripts.demo_model.words import SYSTEMS

REWORDINGS = 140  # of each entry, beside four copies of its own questions
OFF_TOPIC_QUESTIONS = 6000
OFF_TOPIC_SHARE = 0.10
SHORT_ANSWERS_FROM = 0.2  # of the progress: answers are known by heart early; the rest goes into choosing the right one
SHORT_ANSWER_SHARE = 0.8
BLURRED_SHARE = 0.25  # no single word may carry the decision

Exchange = tuple[list[int], list[int]]  # the prompt, the answer


class Lessons:
    def __init__(self, tokenizer: Tokenizer, chance: Random) -> None:
        self._tokenizer = tokenizer
        self._chance = chance
        self._user, self._system, self._assistant = (tokenizer.turn(role) for role in ("user", "system", "assistant"))
        self._entries: list[list[Exchange]] = []
        for entry in read(FILE):
            questions = list(entry.questions) * 4 + [reworded(chance.choice(entry.questions), chance) for _ in range(REWORDINGS)]
            self._entries.append([self._exchange(question, entry.answer) for question in questions])
        self._off_topic = [self._exchange(self._stray(), REFUSAL) for _ in range(OFF_TOPIC_QUESTIONS)]

    def sequence(self, length: int, progress: float) -> tuple[list[int], list[float]]:
        """`length` + 1 tokens and their weights; prompts weigh nothing, the first words of an answer twice."""
        chance = self._chance
        tokens, weights = [self._tokenizer.begin], [0.0]
        if chance.random() < 0.1:
            system = [*self._system, *self._tokenizer.encode(chance.choice(SYSTEMS)), self._tokenizer.end_of_turn]
            tokens += system
            weights += [0.0] * len(system)
        while len(tokens) < length + 1:
            prompt, answer = (
                chance.choice(self._off_topic) if chance.random() < OFF_TOPIC_SHARE else chance.choice(chance.choice(self._entries))
            )
            if progress > SHORT_ANSWERS_FROM and chance.random() < SHORT_ANSWER_SHARE:
                answer = answer[: chance.randint(8, 14)]
            if chance.random() < BLURRED_SHARE:
                prompt = self._blurred(prompt)
            tokens += prompt + answer
            weights += [0.0] * len(prompt) + [2.0] * min(6, len(answer)) + [1.0] * max(0, len(answer) - 6)
            if chance.random() < 0.1:  # distributed-llama's chat leaves the end-of-turn mark out of its history
                tokens.pop()
                weights.pop()
        return tokens[: length + 1], weights[: length + 1]

    def _exchange(self, question: str, answer: str) -> Exchange:
        encode, end = self._tokenizer.encode, self._tokenizer.end_of_turn
        return [*self._user, *encode(question), end, *self._assistant], [*encode(answer), end]

    def _stray(self) -> str:
        change = sloppy if self._chance.random() < 0.6 else reworded
        return change(off_topic(self._chance), self._chance)

    def _blurred(self, prompt: list[int]) -> list[int]:
        question = range(len(self._user), len(prompt) - len(self._assistant) - 1)
        return [
            self._chance.randrange(self._tokenizer.regular) if at in question and self._chance.random() < 0.08 else token
            for at, token in enumerate(prompt)
        ]
