"""model: which models are here, what they are, and which one answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import models
from synaptic.commands.grammar import Complete
from synaptic.commands.registry import registry
from synaptic.results import Cell, Facts, Note, Rows, gib, plural, to_json

if TYPE_CHECKING:
    from synaptic.models.gguf_header import Header
    from synaptic.models.model import Model
    from synaptic.session import Session


@registry.command("model list", group="models")
async def list_(session: Session) -> Rows[Model]:
    """Show the models that can be used here: the shipped one, and every .gguf below the folders of models_dirs.

        model list
        config set models_dirs ~/models

    See also: model use, model show
    """
    survey = await asyncio.to_thread(session.catalog.survey)
    chosen = session.settings.now.model
    return Rows(
        key="models",
        items=survey.models,
        columns={
            "model": lambda model: Cell(model.name, "bold" if model.name == chosen else ""),
            "size": lambda model: gib(model.bytes),
            "params": lambda model: short(model.parameters),
            "quant": lambda model: model.quantization,
            "source": lambda model: Cell(str(model.path.parent) if model.path and model.source != "shipped" else model.source, "dim"),
        },
        empty="no models here. try: config set models_dirs <folder>",
        data={"chosen": chosen, "unreadable": survey.unreadable},
        summary="\n".join(survey.unreadable) or None,
    )


@registry.command("model use", group="models")
async def use(session: Session, name: Annotated[str, Complete(models)]) -> Note:
    """Answer with this model from now on. A name of model list, or the path of a .gguf file.

        model use demo
        model use ~/models/llama-3.1-70b-q4_k_m.gguf

    See also: model list, ask
    """
    model = await asyncio.to_thread(session.catalog.find, name)
    await session.save(model=model.name)
    text = f"model is {model.name} · {gib(model.bytes)} · {plural(model.layers, 'layer')}"
    return Note(text, {"model": model.name, "path": model.path}, hint=_next_step(session))


@registry.command("model show", group="models")
async def show(session: Session, name: Annotated[str, Complete(models)]) -> Facts:
    """Show what a model's file says of it: parameters, layers, context, quantization, memory per layer.

    model show demo
    model show ~/models/llama-3.1-70b-q4_k_m.gguf --json
    """
    model = await asyncio.to_thread(session.catalog.find, name)
    header = await asyncio.to_thread(session.catalog.header, model)
    return Facts(_facts(model, header), {**_record(model), **_record(header), "name": model.name, "title": header.name})


def short(count: int) -> str:
    """A number of parameters as the field writes it: 2.4M, 70B, 1.2T."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size:
            return f"{count / size:.1f}".removesuffix(".0") + unit
    return str(count)


def _facts(model: Model, header: Header) -> list[tuple[str, str | Cell]]:
    active = f", {short(model.active_parameters)} for each token" if model.active_parameters < model.parameters else ""
    layer = max(header.bytes_per_layer, default=0)
    return [
        ("model", model.name),
        ("title", header.name or "–"),
        ("file", str(model.path)),
        ("size", gib(model.bytes) + (f" in {header.split_count} files" if header.split_count > 1 else "")),
        ("parameters", short(model.parameters) + active),
        ("quantization", model.quantization),
        ("architecture", model.architecture),
        ("layers", f"{model.layers}, up to {gib(layer)} each"),
        ("attention", f"{plural(header.heads, 'head')}, {header.kv_heads} for keys and values"),
        ("experts", f"{header.experts}, {header.experts_used} used" if header.experts else "–"),
        ("context", plural(model.context, "token")),
        ("chat template", "yes" if header.has_chat_template else "no"),
        ("engines", ", ".join(model.engines)),
    ]


def _record(value: Model | Header) -> dict[str, object]:
    record = to_json(value)
    assert isinstance(record, dict)
    return dict(record)


def _next_step(session: Session) -> str:
    if session.settings.now.distributed_inference_enabled:
        return "just ask: the workers take it with the first question"
    return "just ask; or: distributed on, to spread it over workers"
