"""What another benchmark wrote, as a measurement: whichever it was."""

from __future__ import annotations

from pathlib import Path

from synaptic.bench.imports.llama_bench import from_llama_bench
from synaptic.bench.imports.serving import from_guidellm, from_vllm, is_guidellm, is_vllm
from synaptic.bench.result import Result


def imported(document: object, path: Path) -> Result:
    """`path` is what errors name. Raises UsageError."""
    if isinstance(document, dict) and is_vllm(document):
        return from_vllm(document, path)
    if isinstance(document, dict) and is_guidellm(document):
        return from_guidellm(document, path)
    return from_llama_bench(document, path)
