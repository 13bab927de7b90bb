"""
How long a token takes when a model's layers lie on several machines. Pure; seconds and bytes.

Every token passes through all machines, one after another (llama.cpp over RPC, split by layers):

    token  = Σ machines max(weights + KV read / bandwidth, flop / compute)
           + Σ workers (one round trip + activations / link + RPC) + the coordinator
    prompt = Σ batches Σ machines max(weights / bandwidth, flop / compute) + 2 round trips and activations for each worker
    load   = bytes / min(link, disk), of the largest share at best, of all of them one after another at worst

With b slots at work a step reads the weights once and b KV caches, and yields b tokens. A prediction is a range:
±15 % where the machines were measured, ±35 % from specifications, and what an old PC or a new GPU would do where
nothing is known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from synaptic.endpoint import Endpoint
from synaptic.planning.machine import Machine, Share
from synaptic.planning.shape import KV_TYPES, UBATCH, Shape
from synaptic.planning.term import COMPUTE, MEMORY, Term, Tie

ASSUMED, SLOWEST, FASTEST = 50e9, 8e9, 1000e9  # bytes/s of memory that was never measured: likely, and the range
SPECIFIED, MEASURED = 0.35, 0.15  # error of a prediction
EFFICIENCY = {"F32": 0.82, "F16": 0.82, "BF16": 0.82, "Q8_0": 0.71, "Q4_0": 0.59, "Q4_1": 0.59}  # of a memory's bandwidth
K_QUANTS, MIXTURE = 0.62, 0.60  # Q4_K and whatever is not above; a mixture of experts
INTENSITY = 25.0  # flop for each byte/s of bandwidth, of a GPU reading a prompt, where its compute is not known
LEAST_INTENSITY, MOST_INTENSITY = 4.0, 40.0
FILLED = 2048  # tokens in the KV cache of a usual conversation
PROMPT = 512  # tokens of the prompt whose first answer token is predicted
LINK, FAST_LINK, DISK = 117e6, 1.17e9, 1.5e9  # bytes/s: 1 GbE, 10 GbE; a fast disk, or this machine to itself
COORDINATOR = "the coordinator"  # its term; no other engine's prediction has one
RPC, HOST = 0.2e-3, 0.5e-3  # seconds for each token: of one worker's messages, of sampling and text
INPUTS = 10_000  # bytes of positions and masks that go to each worker with each token
GRAPH = 350_000  # bytes of the graph for a new shape of batch


@dataclasses.dataclass(frozen=True)
class Prediction:
    """
    Ranges are (low, high). `terms`: what one step is made of, in the order of the machines.

    `learned`: how many times as fast the same machines proved to be, in so many measurements (`learned_from`); it is in
    the range of tokens/s, not in the terms (predictions.py).
    """

    tokens_per_second: tuple[float, float]
    ttft_ms: tuple[float, float]
    load_seconds: tuple[float, float]
    bottleneck: str
    terms: tuple[Term, ...]
    is_assumed: bool = False
    slots: int = 1
    learned: float = 1.0
    learned_from: int = 0

    @property
    def step(self) -> float:
        """Seconds, as likely as we can say."""
        return sum(term.seconds for term in self.terms)

    @property
    def expected(self) -> float:
        """Tokens/s of all slots together, by the terms alone."""
        return self.slots / self.step if self.step else 0.0

    @property
    def works(self) -> tuple[Term, ...]:
        """Of each machine."""
        return tuple(term for term in self.terms if term.is_work)

    @property
    def machines(self) -> tuple[str, ...]:
        """Their names, in the order of the terms."""
        return tuple(term.whose for term in self.works)


def predict(
    shape: Shape,
    shares: Sequence[Share],
    machines: Sequence[Machine],
    context: int,
    *,
    slots: int = 1,
    kv_type: str = "f16",
    prompt: int = PROMPT,
) -> Prediction:
    """`machines`: those of the shares, and maybe others. `slots`: how many answers are written at the same time."""
    at = {machine.endpoint: machine for machine in machines}
    used = [share for share in shares if share.layers]
    terms = tuple(_terms(shape, used, at, min(context, FILLED), slots, kv_type))
    is_assumed = any(at[share.endpoint].speed is None for share in used)
    return Prediction(
        tokens_per_second=_rate(terms, slots, used, at),
        ttft_ms=_ttft(shape, used, at, min(prompt, context)),
        load_seconds=_load(used, at),
        bottleneck=_bottleneck(terms, len(used)),
        terms=terms,
        is_assumed=is_assumed,
        slots=slots,
    )


def bandwidth(machine: Machine, shape: Shape, unknown: float = ASSUMED) -> float:
    """Bytes/s of this model's weights. A measurement was made with Q8_0."""
    if machine.speed is None:
        return unknown
    part = efficiency(shape)
    return machine.speed.bandwidth * (part / EFFICIENCY["Q8_0"] if machine.speed.measured_at else part)


def efficiency(shape: Shape) -> float:
    """The part of a memory's bandwidth that llama.cpp's kernels use, as measured on several GPUs and CPUs."""
    if shape.active_share < 1:
        return MIXTURE
    return EFFICIENCY.get(shape.quantization, K_QUANTS)


def _terms(
    shape: Shape, shares: Sequence[Share], at: Mapping[Endpoint | None, Machine], filled: int, slots: int, kv_type: str
) -> list[Term]:
    terms = []
    for share in shares:
        machine, last = at[share.endpoint], share.first + share.layers
        read = shape.read_per_token(share.first, last) + slots * share.layers * shape.kv_elements * filled * KV_TYPES[kv_type]
        by_memory = read / bandwidth(machine, shape)
        by_compute = slots * _flop(shape, share) / machine.speed.compute if machine.speed and machine.speed.compute else 0.0
        what = COMPUTE if by_compute > by_memory else MEMORY
        terms.append(Term(what, max(by_memory, by_compute), machine.name))
    for share in shares:
        terms += _network(shape, at[share.endpoint], slots, is_last=share.first + share.layers == shape.layers)
    return [*terms, Term(COORDINATOR, HOST)]


def _network(shape: Shape, machine: Machine, slots: int, *, is_last: bool) -> list[Term]:
    if machine.endpoint is None:
        return []
    down = 4 * (shape.vocabulary if is_last else shape.embedding_length) * slots
    moved = down + 4 * shape.embedding_length * slots + INPUTS
    parts = [("RPC", RPC)]
    if machine.round_trip:
        parts += [("network latency", machine.round_trip), ("network bandwidth", moved / (_link(machine) or LINK))]
    return [Term(what, seconds, machine.name, Tie.TO) for what, seconds in parts]


def _flop(shape: Shape, share: Share) -> float:
    """For one token, in this share of the layers."""
    return 2 * shape.active_parameters * share.layers / max(shape.layers, 1)


def _rate(terms: Sequence[Term], slots: int, shares: Sequence[Share], at: Mapping[Endpoint | None, Machine]) -> tuple[float, float]:
    step = sum(term.seconds for term in terms)
    unknown = {at[share.endpoint].name for share in shares if at[share.endpoint].speed is None}
    memory = sum(term.seconds for term in terms if term.what == MEMORY and term.whose in unknown)
    error = _error(shares, at)
    slow = step + memory * (ASSUMED / SLOWEST - 1)
    fast = step - memory * (1 - ASSUMED / FASTEST)
    return slots / slow * (1 - error), slots / fast * (1 + error)


def _error(shares: Sequence[Share], at: Mapping[Endpoint | None, Machine]) -> float:
    speeds = [at[share.endpoint].speed for share in shares]
    return MEASURED if all(speed and speed.measured_at for speed in speeds) else SPECIFIED


def _ttft(shape: Shape, shares: Sequence[Share], at: Mapping[Endpoint | None, Machine], prompt: int) -> tuple[float, float]:
    error = _error(shares, at)
    fast = sum(_reading(shape, share, at[share.endpoint], prompt, FASTEST, MOST_INTENSITY) for share in shares)
    slow = sum(_reading(shape, share, at[share.endpoint], prompt, SLOWEST, LEAST_INTENSITY) for share in shares)
    return 1000 * (fast + HOST) * (1 - error), 1000 * (slow + HOST) * (1 + error)


def _reading(shape: Shape, share: Share, machine: Machine, prompt: int, unknown: float, intensity: float) -> float:
    speed = bandwidth(machine, shape, unknown)
    compute = machine.speed.compute if machine.speed and machine.speed.compute else speed * _intensity(machine, intensity)
    seconds = 0.0
    for start in range(0, prompt, UBATCH):
        tokens = min(UBATCH, prompt - start)
        seconds += max(share.weight_bytes / speed, tokens * _flop(shape, share) / compute)
    if machine.endpoint and machine.round_trip:
        seconds += 2 * machine.round_trip + (12 * shape.embedding_length * prompt + GRAPH) / (_link(machine) or LINK)
    return seconds


def _intensity(machine: Machine, extreme: float) -> float:
    """From a specification we know it is an accelerator."""
    return INTENSITY if machine.speed and machine.speed.measured_at is None else extreme


def _load(shares: Sequence[Share], at: Mapping[Endpoint | None, Machine]) -> tuple[float, float]:
    fast = max((share.weight_bytes / _way(at[share.endpoint], FAST_LINK) for share in shares), default=0.0)
    slow = sum(share.weight_bytes / _way(at[share.endpoint], LINK) for share in shares)
    return fast * (1 - MEASURED), slow * (1 + SPECIFIED)


def _way(machine: Machine, unknown: float) -> float:
    if machine.endpoint is None or not machine.round_trip:
        return DISK if unknown == FAST_LINK else DISK / 5
    return min(_link(machine) or unknown, DISK)


def _link(machine: Machine) -> float | None:
    return machine.speed.link if machine.speed else None


def _bottleneck(terms: Sequence[Term], count: int) -> str:
    """Where time goes; what several machines have in common is one cause."""
    whole = sum(term.seconds for term in terms)
    longest = max(terms, key=lambda term: term.seconds)
    together = sum(term.seconds for term in terms if term.what == longest.what)
    if together > 1.2 * longest.seconds and count > 1:
        several = f"{count} machines one after another, {longest.whose} takes longest"
        return f"{longest.what}, {together / whole:.0%} of each token: {several}"
    return f"{longest}, {longest.seconds / whole:.0%} of each token"
