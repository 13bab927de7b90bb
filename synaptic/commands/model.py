"""model: which models are here, what they are, and which one answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import models
from synaptic.commands.grammar import Complete
from synaptic.commands.registry import registry
from synaptic.results import Cell, Facts, Note, Rows, gib, plural, to_json

if TYPE_CHECKING:
    from synaptic.dllama.header import DllamaHeader
    from synaptic.models.gguf_header import Header
    from synaptic.models.model import Model
    from synaptic.session import Session


RECENT = 30.0  # seconds for which the word of a server holds


@registry.command("model list", group="models")
async def list_(session: Session) -> Rows[Model]:
    """Show the models that can be used: the shipped one, files below the folders of models_dirs, Ollama's, and those of servers.

        model list
        config set models_dirs ~/models

    See also: model use, model show
    """
    await session.nodes.refresh(max_age=RECENT)
    survey = await asyncio.to_thread(session.catalog.survey)
    chosen = session.settings.now.model
    return Rows(
        key="models",
        items=survey.models,
        columns={
            "model": lambda model: Cell(model.name, "bold" if model.name == chosen else ""),
            "size": lambda model: gib(model.bytes) if model.bytes else "–",
            "params": lambda model: short(model.parameters) if model.parameters else "–",
            "quant": lambda model: model.quantization or "–",
            "source": lambda model: Cell(_where(model), "dim"),
        },
        empty="no models here. try: config set models_dirs <folder>",
        data={"chosen": chosen, "unreadable": survey.unreadable},
        summary="\n".join(survey.unreadable) or None,
    )


@registry.command("model use", group="models")
async def use(session: Session, name: Annotated[str, Complete(models)]) -> Note:
    """Answer with this model from now on. A name of model list, or the path of a .gguf or .m file.

        model use demo
        model use ~/models/llama-3.1-70b-q4_k_m.gguf

    See also: model list, ask
    """
    model = await found(session, name)
    await session.save(model=model.name)
    size = [gib(model.bytes)] if model.bytes else []
    layers = [plural(model.layers, "layer")] if model.layers else []
    at = [f"at {_where(model)}"] if model.path is None else []
    text = " · ".join((f"model is {model.name}", *size, *layers, *at))
    return Note(text, {"model": model.name, "path": model.path}, hint=_next_step(session, model))


@registry.command("model show", group="models")
async def show(session: Session, name: Annotated[str, Complete(models)]) -> Facts:
    """Show what a model's file says of it: parameters, layers, context, quantization, memory per layer. Without one: what servers say.

        model show demo
        model show ~/models/llama-3.1-70b-q4_k_m.gguf --json

    See also: model list, model doctor, plan
    """
    model = await found(session, name)
    if model.path is None:
        return Facts([*_common(model), ("engines", ", ".join(model.engines))], _record(model))
    if dllama := await asyncio.to_thread(session.catalog.dllama_header, model):
        from synaptic.commands.model_layout import header_facts, layout_of

        layout = await asyncio.to_thread(layout_of, dllama, model.name)
        return Facts(
            [*_dllama_facts(model, dllama), *header_facts(dllama)],
            {**_record(dllama), **_record(model), "bytes_per_layer": [dllama.bytes_per_layer] * dllama.layers, **layout.record},
            tables=layout.tables,
        )
    header = await asyncio.to_thread(session.catalog.header, model)
    return Facts(_facts(model, header), {**_record(model), **_record(header), "name": model.name, "title": header.name})


async def found(session: Session, name: str) -> Model:
    """The model, with what servers say of it now. EngineError."""
    await session.nodes.refresh(max_age=RECENT)
    return await asyncio.to_thread(session.catalog.find, name)


def short(count: int) -> str:
    """A number of parameters as the field writes it: 2.4M, 70B, 1.2T."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size:
            return f"{count / size:.1f}".removesuffix(".0") + unit
    return str(count)


def _where(model: Model) -> str:
    if model.is_shipped:
        return model.source
    nodes = ", ".join(dict.fromkeys(offer.node for offer in model.offers))
    here = "ollama" if model.source == "ollama" else str(model.path.parent) if model.path else ""
    return " and ".join(filter(None, (here, nodes)))


def _common(model: Model) -> list[tuple[str, str | Cell]]:
    """What is known of any model, wherever it is."""
    active = f", {short(model.active_parameters)} for each token" if model.active_parameters < model.parameters else ""
    return [
        ("model", model.name),
        ("file", str(model.path) if model.path else "none on this machine"),
        *([("servers", ", ".join(dict.fromkeys(offer.node for offer in model.offers)))] if model.offers else []),
        ("size", gib(model.bytes) if model.bytes else "–"),
        ("parameters", short(model.parameters) + active if model.parameters else "–"),
        ("quantization", model.quantization or "–"),
        ("architecture", model.architecture or "–"),
        ("context", plural(model.context, "token") if model.context else "–"),
    ]


def _facts(model: Model, header: Header) -> list[tuple[str, str | Cell]]:
    layer = max(header.bytes_per_layer, default=0)
    return [
        ("title", header.name or "–"),
        *_common(model),
        ("files", str(max(header.split_count, 1))),
        ("layers", f"{model.layers}, up to {gib(layer)} each"),
        ("attention", f"{plural(header.heads, 'head')}, {header.kv_heads} for keys and values"),
        ("experts", f"{header.experts}, {header.experts_used} used" if header.experts else "–"),
        ("chat template", "yes" if header.has_chat_template else "no"),
        ("engines", ", ".join(model.engines)),
    ]


def _dllama_facts(model: Model, header: DllamaHeader) -> list[tuple[str, str | Cell]]:
    return [
        *_common(model),
        ("layers", f"{header.layers}, {gib(header.bytes_per_layer)} each"),
        ("attention", f"{plural(header.heads, 'head')}, {header.kv_heads} for keys and values"),
        ("experts", f"{header.experts}, {header.active_experts} used" if header.experts else "–"),
        ("vocabulary", plural(header.vocabulary, "token")),
        ("engines", ", ".join(model.engines)),
    ]


def _record(value: Model | Header | DllamaHeader) -> dict[str, object]:
    record = to_json(value)
    assert isinstance(record, dict)
    return dict(record)


def _next_step(session: Session, model: Model) -> str:
    if model.path is None:
        return "just ask: a server answers"
    if session.settings.now.distributed_inference_enabled:
        return "just ask: the workers take it with the first question"
    return "just ask; or: distributed on, to spread it over workers"
