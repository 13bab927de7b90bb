"""explain, of an answer of a distributed-llama model: what a token cost here and at each node, beside what was predicted for it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from synaptic.engines.running_root import HERE
from synaptic.planning.dllama_plan import LAYERS, NONE, TENSOR
from synaptic.planning.term import Tie
from synaptic.results import Cell, Facts, Rows, gib

if TYPE_CHECKING:
    from synaptic.engines.root_events import Figures, RootAnswered
    from synaptic.planning.advice import Fix
    from synaptic.planning.costmodel import Prediction
    from synaptic.planning.predictions import Record
    from synaptic.planning.term import Term
    from synaptic.session import Session

Labelled = list[tuple[str, str | Cell]]
SOON = 5.0  # seconds after its end at most an answer's record is written


@dataclasses.dataclass(frozen=True)
class Compared:
    """Terms of one token, in ms. None: not predicted, or not measured by itself."""

    what: str
    predicted: float | None
    measured: float | None


def last_of_root(session: Session) -> RootAnswered | None:
    """Of this session."""
    return session.roots.last if session.is_open("roots") else None


def is_newer(answered: RootAnswered, record: Record | None) -> bool:
    """Whether it is an answer that was never predicted: a record is written after its answer."""
    return record is None or answered.at > record.at


def is_of(answered: RootAnswered, record: Record) -> bool:
    """Whether both are of the same answer: the model may run elsewhere under the same name, by llama.cpp or dllama-api."""
    return answered.model == record.model and 0 <= record.at - answered.at < SOON


def explained_root(answered: RootAnswered) -> Facts:
    """Of an answer that is compared with nothing: it took no workers, or one that was never measured, or lost one on its way."""
    facts: Labelled = [("model", answered.model), *root_facts(answered)]
    if answered.split != NONE:
        facts.append(("predicted", Cell("not compared: a worker was lost meanwhile, or never measured (dllama check --verify)", "dim")))
    return Facts(facts, root_document(answered))


def root_document(answered: RootAnswered) -> dict[str, object]:
    return {"model": answered.model, "root": answered}


def root_facts(answered: RootAnswered) -> Labelled:
    cost, tokens = answered.answer, max(answered.answer.tokens, 1)
    others = f", {cost.waiting_ms / tokens:.1f} ms waiting for {'the workers' if _nodes(cost) else 'the disk'}" if cost.waiting_ms else ""
    facts: Labelled = [("each token", f"{cost.computing_ms / tokens:.1f} ms computing here{others}")]
    facts += [(f"  {node}", said) for node, said in _nodes(cost)]
    return facts + ([("from disk", answered.storage.said)] if answered.storage and answered.storage.said else [])


def terms_of(said: Prediction, answered: RootAnswered, step: float | None) -> list[Compared]:
    """`step`: ms that one token took in all. The root sees no more of a run of layers than when it comes back: there and back in one."""
    cost, tokens = answered.answer, max(answered.answer.tokens, 1)
    if answered.split == LAYERS:
        waits = [(each.ms, [term for term in said.terms if term.whose == each.node]) for each in cost.nodes if each.node != HERE]
    else:
        waits = [(cost.waiting_ms, [term for term in said.terms if term.tie in (Tie.WITH, Tie.FROM)])]
    here = [term for term in said.terms if not any(term in terms for _, terms in waits)]
    found = [_compared(terms, ms / tokens) for ms, terms in waits if terms]
    found.append(_compared(here, cost.computing_ms / tokens) if here else Compared("computing here", None, cost.computing_ms / tokens))
    seen = sum(each.measured or 0.0 for each in found)
    return [*found, *([Compared("measured, beyond the terms", None, step - seen)] if step and step > seen else [])]


def bottleneck_of(terms: list[Compared]) -> str:
    """The largest as it was measured, and whether it was to be expected."""
    whole = sum(each.measured or 0.0 for each in terms)
    most = max(terms, key=lambda each: each.measured or 0.0)
    share = f"{most.what}, {(most.measured or 0.0) / whole:.0%} of each token as measured" if whole else most.what
    if not most.predicted or not most.measured:
        return share
    times = most.measured / most.predicted
    return f"{share}, {times:.1f} times what was predicted" if not 0.8 <= times <= 1.25 else f"{share}, as predicted"


def table_of(terms: list[Compared]) -> Rows[Compared]:
    whole = sum(each.measured or 0.0 for each in terms)
    columns = {
        "what": lambda each: each.what,
        "predicted, ms": lambda each: "–" if each.predicted is None else f"{each.predicted:.2f}",
        "measured, ms": lambda each: "–" if each.measured is None else f"{each.measured:.2f}",
        "share, measured": lambda each: "–" if each.measured is None or not whole else f"{each.measured / whole:.0%}",
    }
    return Rows(key="terms", items=terms, columns=columns)


async def fixes_of_dllama(session: Session, model: str) -> tuple[Fix, ...]:
    """What would help now, as far as what answered is still up: our own root, or dllama-api."""
    from synaptic.cluster.backend import Backend, Kind, State
    from synaptic.planning.dllama_advice import advise_dllama

    rooted = session.roots.of(model) if session.is_open("roots") else None
    apis = session.dllama_apis.all() if session.is_open("dllama_apis") and not rooted else []
    plan = rooted.plan if rooted else next((each.plan for each in apis if each.plan.model.name == model), None)
    if plan is None or not plan.workers:
        return ()
    workers = [Backend(each, Kind.DLLAMA, State.IN_USE) for each in plan.workers]
    question = await session.dllama_routes.question(plan.model, workers, plan.context)
    return advise_dllama(question, rooted.split if rooted else TENSOR)


def _compared(terms: list[Term], measured: float) -> Compared:
    return Compared(" and ".join(map(str, terms)), sum(1000 * term.seconds for term in terms), measured)


def _nodes(cost: Figures) -> list[tuple[str, str]]:
    tokens = max(cost.tokens, 1)
    return [
        (each.node, f"{each.ms / tokens:.1f} ms, {gib(each.bytes_up // tokens)} there and {gib(each.bytes_down // tokens)} back")
        for each in cost.nodes
        if each.node != HERE
    ]
