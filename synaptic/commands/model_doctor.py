"""model doctor: can the llama-server of this machine load a model, and why not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import models
from synaptic.commands.doctor import Check, as_rows
from synaptic.commands.grammar import Complete
from synaptic.commands.model import found
from synaptic.commands.registry import registry
from synaptic.errors import EngineError
from synaptic.models.model import DLLAMA
from synaptic.process.trial import Stage, Verdict, try_to_load
from synaptic.results import Rows, gib, plural

if TYPE_CHECKING:
    from synaptic.models.gguf_header import Header
    from synaptic.models.model import Model
    from synaptic.models.ollama_store import Blob
    from synaptic.session import Session

# Ollama's engine has names of its own for what llama.cpp calls otherwise; the files differ in more than the name
OLLAMA_CALLS = {"gptoss": "gpt-oss", "qwen25vl": "qwen2vl", "nemotronh": "nemotron_h", "olmo3": "olmo2", "mllama": None}
BESIDE = ("v.", "mm.", "a.", "s.")  # tensors of eyes and ears, which llama.cpp wants in a file of their own
_STEPS = ((Stage.ARCHITECTURE, "architecture"), (Stage.KEYS, "shape"), (Stage.TOKENIZER, "tokenizer"))


@registry.command("model doctor", group="models")
async def doctor(session: Session, name: Annotated[str, Complete(models)]) -> Rows[Check]:
    """Check whether the llama-server of this machine can load a model, and say how to mend what is wrong. Exit code 1 on a ✗.

        model doctor demo
        model doctor llama3.1:70b

    See also: model show, doctor, plan
    """
    try:
        model = await found(session, name)
    except EngineError as error:
        return as_rows([Check("✗", "file", str(error), error.hint or "")])
    checks = [Check("✓", "server", f"{offer.node} offers it ({offer.engine})") for offer in model.offers]
    if model.path is None:
        return as_rows([*checks, await _no_file(session, model)])
    if DLLAMA in model.engines:
        sound = Check("✓", "file", f"{model.path} · {gib(model.bytes)} · as long as its header says")
        return as_rows(
            [*checks, sound, Check("✗", "engine", "a distributed-llama model, which llama-server cannot load", "ask it of dllama")]
        )
    return as_rows([*checks, *await _file_checks(session, model, model.path)])


async def _no_file(session: Session, model: Model) -> Check:
    """Servers have it, and what is wrong with the file here was not worth an error before."""
    try:
        await asyncio.to_thread(session.catalog.blob, model.name)
    except EngineError as error:
        return Check("✗", "file", str(error), error.hint or "")
    return Check("✗", "file", "none on this machine: only servers can answer with it", f"model pull {model.name}")


async def _file_checks(session: Session, model: Model, path: Path) -> list[Check]:
    header = await asyncio.to_thread(session.catalog.header, model)
    blob = await asyncio.to_thread(session.catalog.blob, model.name)
    several = f" in {header.split_count} files, all here" if header.split_count > 1 else ""
    return [
        Check("✓", "file", f"{path} · {gib(model.bytes)}{several}"),
        *await _engine_checks(session, header, path),
        *await asyncio.to_thread(lambda: list(_content(header, path))),
        *_beside(blob),
        _memory(model),
    ]


async def _engine_checks(session: Session, header: Header, path: Path) -> list[Check]:
    from synaptic.models.gguf import without_weights

    try:
        program = session.engines.find("llama-server")
    except EngineError as error:
        return [Check("✗", "llama-server", str(error), error.hint or "")]
    if program is None:
        return [Check("✗", "llama-server", "not found", "engine install llama.cpp")]
    verdict = await try_to_load(program.path, await asyncio.to_thread(without_weights, path), session.environment.variables)
    return [Check("✓", "llama-server", f"{program.path} ({program.source})"), *_judged(verdict, header)]


def _judged(verdict: Verdict, header: Header) -> Iterator[Check]:
    if verdict.stuck is Stage.NOWHERE:
        yield Check(
            "!", "loading", f"llama-server did not say whether it can: {verdict.words}", "coordinator start NAME, then coordinator logs"
        )
        return
    said = {
        "architecture": header.architecture,
        "shape": f"{plural(header.layers, 'layer')}, {plural(header.context, 'token')} of context",
        "tokenizer": header.tokenizer or "none",
    }
    for stage, what in _STEPS:
        if stage is verdict.stuck:
            yield Check("✗", what, f"llama-server: {verdict.words}", _remedy(stage, header.architecture))
            return
        yield Check("✓", what, said[what])


def _remedy(stage: Stage, architecture: str) -> str:
    made = "get a GGUF that was made for llama.cpp, or ask it through Ollama"
    if architecture in OLLAMA_CALLS:
        other = OLLAMA_CALLS[architecture]
        return f"a file for Ollama's own engine; {f'llama.cpp says {other}' if other else 'llama.cpp has no such model'}: {made}"
    if stage is Stage.ARCHITECTURE:
        return f"engine install llama.cpp, where that is newer; or {made}"
    return made


def _content(header: Header, path: Path) -> Iterator[Check]:
    from synaptic.models.gguf import read_tensors

    beside = sum(tensor.name.startswith(BESIDE) for tensor in read_tensors(path)[1])
    if beside:
        fix = "get a GGUF that was made for llama.cpp and its mmproj file, or ask it through Ollama"
        yield Check("✗", "weights", f"{plural(beside, 'tensor')} of eyes or ears are in the same file, as Ollama keeps them", fix)
    else:
        yield Check("✓", "weights", f"{plural(header.tensors, 'tensor')}, {header.quantization}")
    if header.has_chat_template:
        yield Check("✓", "chat template", "in the file")
    else:
        yield Check(
            "!", "chat template", "none in the file: llama-server guesses ChatML", "ask it through Ollama, which may have one beside it"
        )


def _beside(blob: Blob | None) -> Iterator[Check]:
    for projector in blob.projectors if blob else ():
        yield Check("!", "projector", f"{projector}: text works; images need it", f"llama-server --mmproj {projector}")
    for adapter in blob.adapters if blob else ():
        yield Check(
            "!", "adapter", f"{adapter}: llama-server answers without it", f"llama-server --lora {adapter}, or ask it through Ollama"
        )


def _memory(model: Model) -> Check:
    import psutil

    available = psutil.virtual_memory().available
    needs = f"its weights take {gib(model.bytes)}; {gib(available)} of this machine's memory is free"
    if model.bytes <= available:
        return Check("✓", "memory", needs)
    return Check("!", "memory", needs, f"plan {model.name}; distributed on, to spread it over workers")
