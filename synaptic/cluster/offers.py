"""
What servers say they can answer with, made plausible. Pure.

    Ollama      /api/tags   {"models": [{"name", "size", "digest", "details": {"family", "parameter_size": "8.0B", …}}]}
                /api/ps     {"models": [{"name", "size", "size_vram", "expires_at"}]}: those in memory now
    OpenAI      /v1/models  {"data": [{"id", "meta": {"n_params", "size", "n_ctx"} (llama-server), "max_model_len" (vLLM)}]}
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from synaptic.cluster.software import DLLAMA_API, LLAMA_SERVER, VLLM
from synaptic.models.model import OLLAMA, OPENAI, Offer
from synaptic.terminal import one_line

MOST = 2000  # models of one server
LONGEST_NAME = 300  # characters
_LARGEST = 1 << 60
_SIZE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?) ?([KMBT]?)\Z")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_HELD = (LLAMA_SERVER, VLLM, DLLAMA_API)  # these serve what they have in memory


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What Ollama has in memory: of each name until when and how many bytes of it on GPUs, bytes in all, and of these on GPUs."""

    names: Mapping[str, tuple[str, int]]
    bytes: int
    on_gpu: int = 0


def of_ollama(tags: object, loaded: Loaded, url: str) -> tuple[Offer, ...]:
    return tuple(_tag(entry, loaded, url) for entry in _entries(tags, "models", "name"))


def loaded_at(ps: object) -> Loaded:
    entries = _entries(ps, "models", "name")
    names = {_text(entry, "name"): (_moment(entry, "expires_at"), _count(entry, "size_vram")) for entry in entries}
    return Loaded(names, sum(_count(entry, "size") for entry in entries), sum(_count(entry, "size_vram") for entry in entries))


def of_openai(models: object, software: str, url: str) -> tuple[Offer, ...]:
    return tuple(_model(entry, software, url) for entry in _entries(models, "data", "id"))


def parameters(text: str) -> int:
    """`8.0B` → 8000000000; 0 for what is no such size."""
    match = _SIZE.match(text.strip().upper())
    return min(_LARGEST, round(float(match[1]) * _UNITS[match[2]])) if match else 0


def _tag(entry: Mapping[str, object], loaded: Loaded, url: str) -> Offer:
    details = _object(entry, "details")
    name = _text(entry, "name")
    until, on_gpu = loaded.names.get(name, ("", 0))
    return Offer(
        name,
        url,
        OLLAMA,
        bytes=_count(entry, "size"),
        parameters=parameters(_shown(details, "parameter_size")),
        quantization=_shown(details, "quantization_level"),
        family=_shown(details, "family"),
        context=_count(details, "context_length"),
        digest=_shown(entry, "digest", 80),
        is_loaded=name in loaded.names,
        loaded_until=until,
        on_gpu=on_gpu,
    )


def _model(entry: Mapping[str, object], software: str, url: str) -> Offer:
    meta = _object(entry, "meta")
    status = _text(_object(entry, "status"), "value")  # of a llama-server that loads what is asked for
    return Offer(
        _text(entry, "id"),
        url,
        OPENAI,
        bytes=_count(meta, "size"),
        parameters=_count(meta, "n_params"),
        context=_count(meta, "n_ctx") or _count(meta, "n_ctx_train") or _count(entry, "max_model_len"),
        is_loaded=status == "loaded" if status else software in _HELD,
    )


def _entries(body: object, key: str, name: str) -> list[Mapping[str, object]]:
    """Those with a name that can be shown and sent back."""
    items = body.get(key) if isinstance(body, Mapping) else None
    if not isinstance(items, list):
        return []
    return [each for each in items[:MOST] if isinstance(each, Mapping) and _is_name(_text(each, name))]


def _is_name(text: str) -> bool:
    return 0 < len(text) <= LONGEST_NAME and text.isprintable() and text == text.strip()


def _object(body: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = body.get(key)
    return value if isinstance(value, Mapping) else {}


def _text(body: Mapping[str, object], key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""


def _moment(body: Mapping[str, object], key: str) -> str:
    text = _text(body, key)
    return text if _MOMENT.match(text) else ""


def _shown(body: Mapping[str, object], key: str, most: int = 40) -> str:
    return one_line(_text(body, key), most)


def _count(body: Mapping[str, object], key: str) -> int:
    value = body.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST else 0
