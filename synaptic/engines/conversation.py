"""What was asked and answered so far: the messages that go along with the next question."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

from synaptic.engines.engine import Message

CHARACTERS_PER_TOKEN = 4  # of English text; code and other languages need more tokens


@dataclasses.dataclass(frozen=True)
class Turn:
    """`complete` is False for an answer that broke off: it is kept to be asked again, and never sent along."""

    question: str
    answer: str
    complete: bool = True


def estimate(text: str) -> int:
    """About how many tokens `text` has."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


class Conversation:
    def __init__(self, count: Callable[[str], int] = estimate) -> None:
        self._count = count
        self._turns: list[Turn] = []
        self._dropped: str | None = None  # a question whose turn was dropped, until it is answered

    def __len__(self) -> int:
        return len(self._turns)

    @property
    def last_question(self) -> str | None:
        if self._dropped is not None:
            return self._dropped
        return self._turns[-1].question if self._turns else None

    @property
    def partial(self) -> Turn | None:
        """The last turn, if its answer broke off."""
        return self._turns[-1] if self._turns and not self._turns[-1].complete else None

    def add(self, question: str, answer: str, *, complete: bool = True) -> None:
        self._turns.append(Turn(question, answer, complete))
        self._dropped = None

    def drop_last(self) -> None:
        """Forget the last turn but not its question: a retry that fails can be retried, and drops nothing more."""
        if self._turns and self._dropped is None:
            self._dropped = self._turns.pop().question

    def clear(self) -> None:
        self._turns.clear()
        self._dropped = None

    def messages(self, question: str, system_prompt: str | None = None, budget: int | None = None) -> tuple[Message, ...]:
        """`question` after all complete turns; the oldest are left out while the whole exceeds `budget` tokens."""
        system = [Message("system", system_prompt)] if system_prompt else []
        last = [Message("user", question)]
        room = math.inf if budget is None else budget - self._tokens([*system, *last])
        kept: list[Message] = []
        for turn in reversed([turn for turn in self._turns if turn.complete]):
            pair = [Message("user", turn.question), Message("assistant", turn.answer)]
            room -= self._tokens(pair)
            if room < 0:
                break
            kept = [*pair, *kept]
        return (*system, *kept, *last)

    def _tokens(self, messages: Iterable[Message]) -> int:
        return sum(self._count(message.content) for message in messages)
