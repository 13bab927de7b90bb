"""What each setting may hold: as JSON in the file, and as text typed by a person."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from synaptic.endpoint import DLLAMA_PORT, RPC_PORT, Endpoint
from synaptic.errors import UsageError
from synaptic.files import path_of
from synaptic.results import Json, to_json
from synaptic.settings import splits
from synaptic.settings.nodes import NODES, NodeEntry, merged, usable
from synaptic.settings.text import Document
from synaptic.terminal import one_line

BACKENDS = "rpc_backends"
DLLAMA_BACKENDS = "dllama_backends"
SWITCH = "distributed_inference_enabled"
OLD_SWITCH = "model_sharding_enabled"  # what the switch was called before; it counts where the new name is absent
STRATEGIES = ("auto", "single", "parallel", "multi", "gpu")  # agents/cast.py says what they mean
_WORDS = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
_CLEARS = ("none", "default", "")


@dataclasses.dataclass(frozen=True)
class Kind:
    expected: str  # completes "mode is …"
    accept: Callable[[Json], object]  # JSON → the typed value; ValueError when it is none
    read: Callable[[str], Json]  # text → JSON; ValueError


def typed(key: str, value: object) -> object:
    """`value`, typed or as JSON, as the program uses it. Raises UsageError with what the key may hold."""
    kind = kind_of(key)
    try:
        return kind.accept(to_json(value))
    except ValueError:
        raise UsageError(f"{key} is {kind.expected}, not {shown(to_json(value))}", hint="see: config show") from None


def read(key: str, text: str) -> object:
    """Typed text → the typed value; None for `none` and `default`, which forget the key."""
    kind = kind_of(key)
    if text.strip().lower() in _CLEARS:
        return None
    try:
        return kind.accept(kind.read(text))
    except ValueError:
        raise UsageError(f'{key} is {kind.expected}, not "{one_line(text, 60)}"', hint=f"try: config set {key} default") from None


def kind_of(key: str) -> Kind:
    if key not in KINDS:
        close = difflib.get_close_matches(key, KINDS, n=1)
        raise UsageError(f"unknown setting: {one_line(key, 60)}", hint=f"did you mean: {close[0]}" if close else "see: config show")
    return KINDS[key]


def entries(value: Json) -> list[Json]:
    """The backends as the file lists them; something else in their place is one (bad) entry, which so survives."""
    return value if isinstance(value, list) else [] if value is None else [value]


def backend(entry: Json, default_port: int = RPC_PORT) -> Endpoint:
    """`{"host", "port"}`, with a port that may be digits in quotes, or `"host:port"`. Raises ValueError with the reason."""
    try:
        if isinstance(entry, str):
            return Endpoint.parse(entry, default_port)
        if isinstance(entry, dict) and isinstance(host := entry.get("host"), str) and host == host.strip():
            port = entry.get("port", default_port)
            if isinstance(port, int | str) and not isinstance(port, bool):
                return Endpoint.parse(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except UsageError as error:
        raise ValueError(str(error)) from error
    raise ValueError(f"not an address: {shown(entry)}")


def with_backends(value: Json, wanted: Iterable[Endpoint], default_port: int = RPC_PORT) -> list[Json]:
    """The file's list with exactly these endpoints. Entries stay as they are written, also those that nobody understands."""
    missing = dict.fromkeys(wanted)
    keep = set(missing)
    kept: list[Json] = []
    for entry in entries(value):
        try:
            endpoint = backend(entry, default_port)
        except ValueError:
            kept.append(entry)
            continue
        if endpoint in keep:
            kept.append(entry)
            missing.pop(endpoint, None)
    return kept + [{"host": each.host, "port": each.port} for each in missing]


def put(document: Document, key: str, value: object) -> None:
    """Write a typed value, or forget the key for None."""
    if value is None:
        document.pop(key, None)
        if key == SWITCH:
            document.pop(OLD_SWITCH, None)
    elif key == BACKENDS:
        document[key] = list(with_backends(document.get(key), endpoints(value)))
    elif key == DLLAMA_BACKENDS:
        document[key] = list(with_backends(document.get(key), endpoints(value), DLLAMA_PORT))
    elif key == NODES:
        document[key] = list(merged(document.get(key), nodes(value)))
    else:
        document[key] = to_json(value)


def endpoints(value: object) -> tuple[Endpoint, ...]:
    """A typed `rpc_backends` or `dllama_backends` value that lost its type on the way."""
    assert isinstance(value, tuple)
    return value


def nodes(value: object) -> tuple[NodeEntry, ...]:
    """A typed `nodes` value that lost its type on the way."""
    assert isinstance(value, tuple)
    return value


def shown(value: Json) -> str:
    return one_line(json.dumps(value, ensure_ascii=False), 60)


def _switch(value: Json) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError


def _switch_word(text: str) -> bool:
    try:
        return _WORDS[text.strip().lower()]
    except KeyError:
        raise ValueError from None


def _text(value: Json) -> str:
    if isinstance(value, str) and value.strip() and "\0" not in value:
        return value
    raise ValueError


def _folders(value: Json) -> tuple[Path, ...]:
    if not isinstance(value, list):
        raise ValueError
    paths = tuple(path_of(_text(each)) for each in value)
    if not all(path.is_absolute() for path in paths):
        raise ValueError
    return paths


def _folder_words(text: str) -> list[Json]:
    return [_whole_path(part) for part in text.split(os.pathsep) if part]


def _whole_path(text: str) -> str:
    return os.path.abspath(path_of(text.strip()))  # noqa: PTH100 - .. goes, links stay


def _backends(value: Json) -> tuple[Endpoint, ...]:
    return tuple(dict.fromkeys(backend(entry) for entry in entries(value)))


def dllama_backends(value: Json) -> tuple[Endpoint, ...]:
    """The entries that are some, each once. Raises ValueError when there is none among what stands there."""
    good: dict[Endpoint, None] = {}
    listed = entries(value)
    for entry in listed:
        with contextlib.suppress(ValueError):
            good[backend(entry, DLLAMA_PORT)] = None
    if listed and not good:
        raise ValueError("no address among them")
    return tuple(good)


def _one_of(*words: str) -> Kind:
    def accept(value: Json) -> str:
        if value in words:
            return str(value)
        raise ValueError

    return Kind(f"one of {', '.join(words)}", accept, str.strip)


def _whole(low: int, high: int) -> Kind:
    def accept(value: Json) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError

    return Kind(f"a whole number from {low} to {high}", accept, int)


def _number(low: float, high: float) -> Kind:
    def accept(value: Json) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high and math.isfinite(value):
            return float(value)
        raise ValueError

    return Kind(f"a number from {low:g} to {high:g}", accept, float)


def _split(text: str) -> Sequence[Json]:
    return [part.strip() for part in text.split(",") if part.strip()]


_ON_OFF = Kind("on or off", _switch, _switch_word)
_WORDING = Kind("some text", _text, str)
_FILE = Kind("the whole path of a file", lambda value: _folders([value])[0], _whole_path)

KINDS: dict[str, Kind] = {
    "mode": _one_of("standard", "distributed", "dask"),
    SWITCH: _ON_OFF,
    BACKENDS: Kind("a list of host:port, separated by commas", _backends, lambda text: list(_split(text))),
    DLLAMA_BACKENDS: Kind("a list of host:port, separated by commas", dllama_backends, lambda text: list(_split(text))),
    NODES: Kind("a list of URLs, separated by commas", usable, lambda text: list(_split(text))),
    "model": Kind("the name of a model", _text, str.strip),
    "via": _one_of("auto", "ollama", "llama.cpp", "dllama", "builtin", "openai"),
    "collaborative_mode": _ON_OFF,
    "refinement_rounds": _whole(0, 5),
    "synthesis_model": Kind("the name of a model", _text, str.strip),
    "strategy": _one_of(*STRATEGIES),
    "agent_timeout": _whole(30, 86400),
    "flockparser_enabled": _ON_OFF,
    "models_dirs": Kind(f'a list of folders, separated by "{os.pathsep}"', _folders, _folder_words),
    "context": _whole(16, 16 * 1024 * 1024),
    "splits": Kind("MODEL HOST:PORT=LAYERS,HOST:PORT=LAYERS, each split after a semicolon", splits.accept, splits.read),
    "parallel": _whole(1, 64),
    "kv_type": _one_of("f16", "q8_0"),
    "threads": _whole(1, 4096),
    "temperature": _number(0, 5),
    "seed": _whole(0, 2**32 - 1),
    "max_tokens": _whole(1, 16 * 1024 * 1024),
    "system_prompt": _WORDING,
    "stall_seconds": _number(0.1, 86400),
    "start_seconds": _number(0.1, 86400),
    "dllama_split": _one_of("auto", "tensor", "layers"),
    "failover": _one_of("auto", "ask", "off"),
    "relay": _ON_OFF,
    "relay_seconds": _number(1, 3600),
    "relay_tls": _FILE,
    "relay_cert": _FILE,
    "announce": _ON_OFF,
}
