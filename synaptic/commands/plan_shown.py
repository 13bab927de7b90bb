"""What a plan is shown with, whichever engine it is for: its prediction as JSON, and what else could be done."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from synaptic.results import Rows

if TYPE_CHECKING:
    from synaptic.planning.changes import Alternative
    from synaptic.planning.costmodel import Prediction


def prediction_document(said: Prediction) -> dict[str, object]:
    """Its fields; each term is an object with a name."""
    fields = {field.name: getattr(said, field.name) for field in dataclasses.fields(said)}
    return {**fields, "terms": [{"name": str(term), "seconds": term.seconds} for term in said.terms]}


def alternatives_table(found: Sequence[Alternative]) -> Rows[Alternative]:
    return Rows(
        key="alternatives",
        items=found,
        columns={"change": lambda each: each.change, "effect": lambda each: each.effect},
    )
