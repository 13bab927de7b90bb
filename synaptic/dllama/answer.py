"""An answer in the making: from logits to tokens to text, until it ends."""

from __future__ import annotations

import dataclasses

from synaptic.dllama.chat import StopDetector, Verdict
from synaptic.dllama.model_file import Floats
from synaptic.dllama.sampler import Sampler
from synaptic.dllama.tokenizer import Decoder
from synaptic.dllama.tokenizer_file import Vocabulary


@dataclasses.dataclass(frozen=True)
class Sampling:
    """As distributed-llama's. `temperature` 0: always the likeliest. `max_tokens` None: up to the context's end; at least one comes."""

    temperature: float = 0.8
    top_p: float = 0.9
    seed: int = 1
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    ignores_end: bool = False  # the original's `inference` goes on after an end token


@dataclasses.dataclass(frozen=True)
class Piece:
    """Only the last has a `finish`: stop or length. `cached`: tokens of the prompt that the model had seen before."""

    text: str
    ids: tuple[int, ...] = ()
    finish: str | None = None
    prompt_tokens: int = 0
    cached: int = 0


class Answer:
    """`room`: tokens that the context has after the prompt; the last one drawn is never fed, so there is one more."""

    def __init__(self, vocabulary: Vocabulary, sampling: Sampling, room: int) -> None:
        self._vocabulary, self._sampling, self._room = vocabulary, sampling, room + 1
        self._sampler = Sampler(sampling.temperature, sampling.top_p, sampling.seed)
        self._decoder = Decoder(vocabulary)
        self._detector = StopDetector(vocabulary, [stop.encode() for stop in sampling.stops])
        self.tokens: list[int] = []
        self.finish: str | None = None
        if sampling.max_tokens is not None:
            self._room = min(self._room, max(sampling.max_tokens, 1))

    @property
    def is_over(self) -> bool:
        return self.finish is not None

    def take(self, logits: Floats) -> Piece:
        token = self._sampler.sample(logits[: len(self._vocabulary.tokens)])
        self.tokens.append(token)
        shown = self._decoder.piece(token)
        if self._sampling.ignores_end:
            text = shown or b""
        else:
            verdict, text = self._detector.append(token, shown)
            if verdict is Verdict.ENDS:
                self.finish = "stop"
        if self.finish is None and len(self.tokens) >= self._room:
            self.finish, text = "length", text + self._detector.rest()
        return Piece(text.decode("utf-8", "replace"), (token,), self.finish)
