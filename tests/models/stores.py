"""A store as Ollama lays it out: one manifest, and a blob for each layer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from synaptic.models.ollama_name import OllamaName

KIND = "application/vnd.ollama.image."


def add(store: Path, name: str, *layers: tuple[str, bytes]) -> Path:
    """The manifest. A layer is its kind and its data."""
    entries = [_layer(store, kind, data) for kind, data in layers]
    config = {**_layer(store, "config", b"{}"), "mediaType": "application/vnd.docker.container.image.v1+json"}
    path = store / "manifests" / OllamaName.parse(name).manifest
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    path.write_text(json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": entries}))
    return path


def blob(store: Path, data: bytes) -> Path:
    return store / "blobs" / f"sha256-{hashlib.sha256(data).hexdigest()}"


def _layer(store: Path, kind: str, data: bytes) -> dict[str, object]:
    path = blob(store, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"mediaType": KIND + kind, "digest": path.name.replace("-", ":", 1), "size": len(data)}
