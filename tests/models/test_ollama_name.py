"""Every form of a name that Ollama takes, and none that leads anywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from synaptic.errors import UsageError
from synaptic.models.ollama_name import OllamaName, canonical

HUB = "registry.ollama.ai/library"


@pytest.mark.parametrize(
    ("text", "whole", "short"),
    [
        ("m", f"{HUB}/m:latest", "m:latest"),
        ("llama3.1:70b", f"{HUB}/llama3.1:70b", "llama3.1:70b"),
        ("library/m", f"{HUB}/m:latest", "m:latest"),
        (f"{HUB}/m:3b", f"{HUB}/m:3b", "m:3b"),
        ("https://registry.ollama.ai/library/m:3b", f"{HUB}/m:3b", "m:3b"),
        ("me/m:7b", "registry.ollama.ai/me/m:7b", "me/m:7b"),
        ("hf.co/org/repo-GGUF:Q4_K_M", "hf.co/org/repo-gguf:q4_k_m", "hf.co/org/repo-GGUF:Q4_K_M"),
        ("my.registry:5000/team/m:v1", "my.registry:5000/team/m:v1", "my.registry:5000/team/m:v1"),
        ("127.0.0.1:5000/team/m", "127.0.0.1:5000/team/m:latest", "127.0.0.1:5000/team/m:latest"),
        ("LLAMA3.2", f"{HUB}/llama3.2:latest", "LLAMA3.2:latest"),
    ],
)
def test_each_form_has_one_canonical_name_and_the_one_that_is_listed(text: str, whole: str, short: str) -> None:
    name = OllamaName.parse(text)
    assert (name.canonical, name.short) == (whole, short)
    assert canonical(name.short) == whole
    assert OllamaName.of_path(name.manifest.parts) == name


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "m:", ":tag", "/m", "ns/", "ns//m", "a/b/c/d", "..", "../m", "m/..", "m:..", "../../x", "/etc/passwd", ".hidden", "-m"),
        *("m\0", "m\n", "m m", "m:a/b", "m:a:b", "n.s/m", "~/m", "м", "m" * 81, "m:" + "t" * 81, "a\\b", "C:\\m", "m\u202e", "file:///m"),
    ],
)
def test_what_could_lead_elsewhere_is_no_name(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of an Ollama model"):
        OllamaName.parse(text)
    assert canonical(text) is None


def test_a_digest_is_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match="names a digest: give its tag"):
        OllamaName.parse(f"m@sha256:{'0' * 64}")


@pytest.mark.parametrize("path", [".DS_Store", "registry.ollama.ai/library/m", "registry.ollama.ai/library/m/3b/x", "a/b/c/.d"])
def test_a_stray_file_among_the_manifests_is_no_model(path: str) -> None:
    assert OllamaName.of_path(Path(path).parts) is None
