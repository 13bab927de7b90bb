"""What one request at a node was like."""

from __future__ import annotations

from synaptic.results import plural

SHORT = 5  # tokens; the speed of fewer says nothing


class Serving:
    def __init__(self) -> None:
        self.tokens: int | None = None  # None: the answer is not complete
        self.seconds = 0.0
        self.ttft_ms: float | None = None

    def done(self, *, tokens: int, seconds: float, ttft_ms: float | None = None) -> None:
        """The answer is complete; `seconds` from the request to its end."""
        self.tokens, self.seconds, self.ttft_ms = tokens, seconds, ttft_ms

    @property
    def tokens_per_second(self) -> float | None:
        """After the first token, which waits for the prompt and for loading; None when too short to say."""
        writing = self.seconds - (self.ttft_ms or 0.0) / 1000
        return (self.tokens - 1) / writing if self.tokens and self.tokens >= SHORT and writing > 0 else None

    @property
    def summary(self) -> str:
        speed = f" · {self.tokens_per_second:.1f} tok/s" if self.tokens_per_second else ""
        return f"{plural(self.tokens or 0, 'token')}{speed}"
