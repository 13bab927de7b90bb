"""
How long a token takes when every layer is split over n machines, by theory. Pure; seconds and bytes.

Published measurements of distributed-llama are held against it, in tests. What the program predicts with is dllama_speed,
from the speeds that `dllama check --verify` measures.

    token = split weights / (n · bandwidth) + the root's own weights / its bandwidth
          + (2 layers + 1) · (latency + (n - 1) vectors / link) + latency + (n - 1) / n of the logits / link

All machines work at once and wait for one another twice in each layer; vectors travel in Q80. Waiting for one that is
slower than the rest, and eight or more behind one switch, are not modelled.
"""

from __future__ import annotations

import dataclasses

Q80 = 34 / 32  # bytes of one element


@dataclasses.dataclass(frozen=True)
class Network:
    """`latency`: one way, and waking up at its end. `link`: bytes/s of each machine's."""

    latency: float = 0.2e-3
    link: float = 117.5e6


@dataclasses.dataclass(frozen=True)
class Split:
    """Read for one token: `split_bytes` by all machines together, `root_bytes` by the root alone."""

    layers: int
    embedding_length: int
    vocabulary: int
    split_bytes: float
    root_bytes: float = 0.0


def token_seconds(model: Split, machines: int, bandwidth: float, network: Network) -> tuple[float, float]:
    """What is computed and what is exchanged. `bandwidth`: bytes/s at which each machine reads its weights."""
    compute = model.split_bytes / machines / bandwidth + model.root_bytes / bandwidth
    return compute, 0.0 if machines == 1 else _exchange(model, machines, network)


def sync_bytes(model: Split, machines: int) -> float:
    """What each machine sends, and receives, in the layers for one token."""
    return 2 * model.layers * (machines - 1) * Q80 * model.embedding_length


def extrapolated(one: float, two: float, machines: int) -> float:
    """A token's time on n machines, from the times measured on one and on two: a part that is split, and the rest."""
    split = 2 * (one - two)
    return split / machines + one - split


def _exchange(model: Split, machines: int, network: Network) -> float:
    others = machines - 1
    vector = network.latency + others * Q80 * model.embedding_length / network.link
    logits = network.latency + others / machines * 4 * model.vocabulary / network.link
    return (2 * model.layers + 1) * vector + logits
