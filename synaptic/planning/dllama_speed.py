"""
How long a token of a distributed-llama model takes. Pure; seconds, bytes, and multiplications-and-additions (macs).

    layers   token  = Σ workers (macs of its layers / speed + one round trip) + the output, here
             prompt = batches of 32, one behind the other: the slowest run's time for each, and once through all
    tensor   token  = macs of a node / the slowest's speed + 2 exchanges of rows for each layer, with all others

Speeds are those that `dllama check --verify` measures: of one row, with 4-bit weights that no cache holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from synaptic.dllama.header import DllamaHeader
from synaptic.planning.costmodel import DISK, LINK, Prediction
from synaptic.planning.machine import Machine
from synaptic.planning.term import COMPUTE, Term, Tie

ASSUMED, SLOWEST, FASTEST = 12e9, 2e9, 100e9  # macs/s of a worker that was never measured: likely, and the range
MEASURED = 0.25  # error of a prediction from measured speeds
BATCH, BATCHED = 32, 2.5  # rows; times faster than alone goes a row of a batch, where that was not measured
OWN = 0.25e-3  # seconds of the root itself for a token: it is looked up, chosen and written
TRIP = 0.1e-3  # seconds for a message and its answer between two processes of one machine
FILLED = 2048  # tokens in the cache of keys and values of a usual conversation
PROMPT, ANSWER = 512, 128  # tokens of a usual conversation
BYTES_PER_MAC = 18 / 32  # of Q40 weights


def speed_of(machine: Machine) -> float:
    """Macs per second, of one row."""
    return macs_of(machine.speed.bandwidth) if machine.speed else ASSUMED


def macs_of(bandwidth: float) -> float:
    """Per second, of a worker that reads so many bytes of 4-bit weights."""
    return bandwidth / BYTES_PER_MAC


def layer_macs(header: DllamaHeader, context: int) -> float:
    """For one token, attention in a usual conversation included."""
    outside = 2 * header.vocabulary * header.dim
    attention = 2 * header.heads * header.head_dim * min(context, FILLED)
    return max(header.active_parameters - outside, 0) / max(header.layers, 1) + attention


def answer_seconds(header: DllamaHeader, workers: Sequence[Machine], counts: Sequence[int], context: int) -> float:
    """Of a usual prompt and answer."""
    token = sum(term.seconds for term in layer_terms(header, workers, counts, context))
    slowest = max(_batch_seconds(header, worker, count, context) for worker, count in zip(workers, counts, strict=True))
    return PROMPT * slowest + ANSWER * token


def layer_terms(header: DllamaHeader, workers: Sequence[Machine], counts: Sequence[int], context: int) -> tuple[Term, ...]:
    used = [(worker, count) for worker, count in zip(workers, counts, strict=True) if count]
    terms = [Term(COMPUTE, _run_seconds(header, worker, count, context), worker.name) for worker, count in used]
    terms += [Term("network", _trip(worker, 8 * header.dim), worker.name, Tie.TO) for worker, _ in used if worker.endpoint]
    return (*terms, _output(header, workers))


def tensor_terms(header: DllamaHeader, workers: Sequence[Machine], context: int) -> tuple[Term, Term]:
    """Over all of these and this machine."""
    nodes = len(workers) + 1
    macs = layer_macs(header, context) * header.layers + header.vocabulary * header.dim
    slowest = min(workers, key=speed_of)
    computing = Term(COMPUTE, macs / nodes / speed_of(slowest), f"{slowest.name}, the slowest")
    moved = 34 / 32 * header.dim / nodes * (nodes - 1)
    farthest = max(workers, key=lambda worker: _trip(worker, moved))
    exchanges = 2 * header.layers + 2
    return computing, Term(f"{exchanges} exchanges", exchanges * _trip(farthest, moved), f"{farthest.name} and the others", Tie.WITH)


def predict_layers(header: DllamaHeader, workers: Sequence[Machine], counts: Sequence[int], context: int) -> Prediction:
    used = [worker for worker, count in zip(workers, counts, strict=True) if count]
    runs = [_batch_seconds(header, worker, count, context) for worker, count in zip(workers, counts, strict=True) if count]
    batches = -(-min(PROMPT, context) // BATCH)
    reading = (max(runs) * (batches - 1) + sum(runs)) * BATCH
    terms = layer_terms(header, workers, counts, context)
    weights = [count * header.bytes_per_layer for count in counts if count]
    return _prediction(terms, used, reading, weights)


def predict_tensor(header: DllamaHeader, workers: Sequence[Machine], context: int) -> Prediction:
    terms = computing, exchanges = tensor_terms(header, workers, context)
    reading = min(PROMPT, context) * (computing.seconds / BATCHED + exchanges.seconds / BATCH)
    share = header.expected_bytes // (len(workers) + 1)
    return _prediction(terms, list(workers), reading, [share] * len(workers))


def predict_alone(header: DllamaHeader, here: Machine, context: int, *, fits: bool) -> Prediction:
    """`fits`: into memory; else all layers come from the disk for every token."""
    macs = layer_macs(header, context) * header.layers
    computing = macs / speed_of(here)
    reading = 0.0 if fits else header.layers * header.bytes_per_layer / DISK
    layers = Term("reading layers", reading, "disk", Tie.FROM) if reading > computing else Term(COMPUTE, computing, "this machine")
    terms = (layers, _output(header, [here]))
    prompt = max(min(PROMPT, context) * computing / BATCHED, reading)
    return _prediction(terms, [here], prompt, [header.expected_bytes])


def _prediction(terms: tuple[Term, ...], used: Sequence[Machine], reading: float, weights: Sequence[int]) -> Prediction:
    step = sum(term.seconds for term in terms)
    is_assumed = any(worker.speed is None for worker in used)
    low, high = (SLOWEST / ASSUMED, FASTEST / ASSUMED) if is_assumed else (1 - MEASURED, 1 + MEASURED)
    fast = max((count / (LINK * (1 if worker.round_trip else 10)) for worker, count in zip(used, weights, strict=True)), default=0.0)
    longest = max(terms, key=lambda term: term.seconds)
    return Prediction(
        tokens_per_second=(low / step, high / step),
        ttft_ms=(1000 * reading / high, 1000 * reading / low),
        load_seconds=(fast / 2, sum(weights) / LINK + 0.5),
        bottleneck=f"{longest}, {longest.seconds / step:.0%} of each token",
        terms=terms,
        is_assumed=is_assumed,
    )


def _run_seconds(header: DllamaHeader, worker: Machine, count: int, context: int) -> float:
    return count * layer_macs(header, context) / speed_of(worker)


def _batch_seconds(header: DllamaHeader, worker: Machine, count: int, context: int) -> float:
    """For each row of a full batch."""
    measured = worker.speed.compute / 2 if worker.speed and worker.speed.compute else speed_of(worker) * BATCHED
    return count * layer_macs(header, context) / measured


def _trip(worker: Machine, moved: float) -> float:
    trip = max(worker.round_trip, worker.speed.round_trip if worker.speed else 0.0, TRIP)
    link = worker.speed.link if worker.speed and worker.speed.link else LINK
    return trip + (moved / link if worker.round_trip else 0.0)


def _output(header: DllamaHeader, workers: Sequence[Machine]) -> Term:
    """As fast as a worker of this machine, where one was measured."""
    here = [speed_of(worker) for worker in workers if worker.speed and not worker.round_trip]
    return Term("the output, here", OWN + header.vocabulary * header.dim / (max(here) if here else ASSUMED))
