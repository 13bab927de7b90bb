"""All that is known of one model, as Ollama's /api/show tells it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING

from synaptic.errors import EngineError
from synaptic.models.gguf import read_content
from synaptic.models.gguf_header import Value
from synaptic.models.model import LLAMA_CPP, Model
from synaptic.results import Json
from synaptic.web.gateway.listing import details, moment

if TYPE_CHECKING:
    from synaptic.session import Session

_TEMPLATE = "tokenizer.chat_template"
_EMBEDDING = ("bert", "nomic-bert", "jina-bert-v2", "gemma-embedding")


async def show(session: Session, name: str) -> Json:
    """Of a model whose file is here, from its header; of another, what its server said. Raises EngineError."""
    model = await asyncio.to_thread(session.catalog.find, name)
    info, template = await asyncio.to_thread(_read, model)
    able: list[Json] = ["embedding"] if model.architecture in _EMBEDDING else ["completion"]
    if "tools" in template:
        able.append("tools")
    if "<think>" in template:
        able.append("thinking")
    return {
        "modelfile": f"# {model.name}: {model.source}\nFROM {model.name}\n",
        "parameters": f"temperature {model.temperature:g}" if model.temperature is not None else "",
        "template": template,
        "details": details(model),
        "model_info": info,
        "capabilities": able,
        "modified_at": moment(model.modified),
    }


def _read(model: Model) -> tuple[dict[str, Json], str]:
    """The keys of its header, long ones as null, and its template."""
    info: dict[str, Json] = {"general.architecture": model.architecture, "general.parameter_count": model.parameters}
    if model.path is None or LLAMA_CPP not in model.engines:
        return info | {f"{model.architecture or 'general'}.context_length": model.context}, ""
    template = ""
    with contextlib.suppress(EngineError):  # it was read before; a file that changes meanwhile is told without details
        content = read_content(model.path, [_TEMPLATE])
        whole = content.whole.get(_TEMPLATE)
        template = whole.decode(errors="replace") if isinstance(whole, bytes) else ""
        info |= {key: _json(value) for key, value in content.keys.items() if key != _TEMPLATE}
    return info, template


def _json(value: Value) -> Json:
    if isinstance(value, tuple):
        return list(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
