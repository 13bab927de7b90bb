"""
How Ollama calls a model: `[[host/]namespace/]model[:tag]`, in any case.

    m · m:tag · library/m · ns/m:tag · hf.co/org/repo:Q4_K_M · host:5000/ns/m:tag · registry.ollama.ai/library/m:tag

The rules are those of types/model/name.go of Ollama. A name that passes them is safe as part of a path: each part begins
with a letter, a digit or `_`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from synaptic.errors import UsageError
from synaptic.terminal import one_line

HOST, NAMESPACE, TAG = "registry.ollama.ai", "library", "latest"
_WORD = r"[A-Za-z0-9_]"
_PARTS = {
    "host": re.compile(rf"{_WORD}[A-Za-z0-9_.:-]{{0,349}}"),
    "namespace": re.compile(rf"{_WORD}[A-Za-z0-9_-]{{0,79}}"),
    "model": re.compile(rf"{_WORD}[A-Za-z0-9_.-]{{0,79}}"),
    "tag": re.compile(rf"{_WORD}[A-Za-z0-9_.-]{{0,79}}"),
}


@dataclasses.dataclass(frozen=True)
class OllamaName:
    """Parts as they were written; `canonical` tells whether two names are one model."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> OllamaName:
        """UsageError: what no Ollama would take."""
        if "@" in text:
            raise UsageError(f"{one_line(text, 80)} names a digest: give its tag, as `ollama list` shows it")
        rest = text.partition("://")[2] if re.match(r"https?://", text) else text
        path, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag:
            path, tag = rest, TAG
        pieces = path.split("/")
        if len(pieces) > 3:
            raise _refused(text, "it has more than a host, a namespace and a model")
        host, namespace, model = [*(HOST, NAMESPACE)[: 3 - len(pieces)], *pieces]
        return cls._checked(text, (host, namespace, model, tag))

    @classmethod
    def of_path(cls, parts: Sequence[str]) -> OllamaName | None:
        """The name whose manifest lies there below `manifests/`; None when no name leads there."""
        try:
            return cls._checked("", (parts[0], parts[1], parts[2], parts[3])) if len(parts) == 4 else None
        except UsageError:
            return None

    @property
    def canonical(self) -> str:
        """Whole, and in lower case: Ollama does not tell cases apart."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}".lower()

    @property
    def short(self) -> str:
        """As `ollama list` shows it."""
        name = f"{self.model}:{self.tag}"
        if self.host.lower() != HOST:
            return f"{self.host}/{self.namespace}/{name}"
        return name if self.namespace.lower() == NAMESPACE else f"{self.namespace}/{name}"

    @property
    def manifest(self) -> Path:
        """Where its manifest lies, below `manifests/` of a store."""
        return Path(self.host, self.namespace, self.model, self.tag)

    @classmethod
    def _checked(cls, text: str, parts: tuple[str, str, str, str]) -> OllamaName:
        for (what, form), part in zip(_PARTS.items(), parts, strict=True):
            if not form.fullmatch(part):
                raise _refused(text, f"{one_line(part, 40)!r} is no {what}" if part else f"its {what} is empty")
        return cls(*parts)


def canonical(text: str) -> str | None:
    """None: no name of Ollama's."""
    try:
        return OllamaName.parse(text).canonical
    except UsageError:
        return None


def _refused(text: str, reason: str) -> UsageError:
    return UsageError(
        f'"{one_line(text, 80)}" cannot be the name of an Ollama model: {reason}', hint="like llama3.1:70b or hf.co/org/repo:Q4_K_M"
    )
