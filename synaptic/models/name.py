"""How large a model is, as far as its name says: all there is to know of one that lives elsewhere."""

from __future__ import annotations

import dataclasses
import re

_UNITS = {"m": 10**6, "b": 10**9, "t": 10**12}
# 70b, 1.5b, 8x7b (experts), e4b (effective); not 7bit, q4_k_m, v1.5
_SIZE = re.compile(r"(?<![a-z0-9.])(?:(\d{1,3})x|e)?(\d{1,4}(?:\.\d{1,3})?)([bmt])(?![a-z0-9])")
_ACTIVE = re.compile(r"(?<![a-z0-9.])a(\d{1,4}(?:\.\d{1,3})?)([bm])(?![a-z0-9])")

# What a name does not say, in billions, all and for each token, as the makers published it. Searched in `model:tag`.
_PUBLISHED = tuple(
    (re.compile(form), total, active)
    for form, total, active in (
        (r"llama-?4\b.*scout|llama-?4.*16x17b|llama4:latest", 109, 17),
        (r"llama-?4\b.*maverick|llama-?4.*128x17b", 400, 17),
        (r"deepseek-(r1|v3)[.\d]*(-\d+)?:671b|deepseek-v3(\.\d)?:latest", 671, 37),
        (r"deepseek-(coder-)?v2.*236b", 236, 21),
        (r"deepseek-(coder-)?v2(-lite.*)?:16b", 15.7, 2.4),
        (r"kimi-k2\b", 1000, 32),
        (r"qwen3-coder.*480b", 480, 35),
        (r"qwen3(-vl)?:235b", 235, 22),
        (r"qwen3(-coder|-vl)?:30b|qwen3-coder:latest", 30.5, 3.3),
        (r"qwen3-next.*80b|qwen3-next:latest", 80, 3),
        (r"gpt-oss.*120b", 116.8, 5.1),
        (r"gpt-oss.*20b|gpt-oss:latest", 20.9, 3.6),
        (r"mixtral.*8x22b", 141, 39),
        (r"mixtral.*8x7b|^mixtral:latest", 46.7, 12.9),
        (r"gemma-?3n.*\be4b|gemma3n:latest", 6.9, 4),
        (r"gemma-?3n.*\be2b", 4.5, 2),
        (r"glm-4\.5-air", 106, 12),
        (r"glm-4\.[56]:|glm-4\.[56]$", 355, 32),
        (r"minimax-m2\b(?!\.)", 230, 10),
        (r"dbrx", 132, 36),
    )
)
# What Ollama gives for a name without a tag, in billions; only where that never changed.
_LATEST: dict[float, tuple[str, ...]] = {
    1.1: ("tinyllama",),
    3.2: ("llama3.2",),
    3.8: ("phi3", "phi3:mini", "phi4-mini"),
    4.3: ("gemma3",),
    7: ("llama2", "codellama", "mistral"),
    7.6: ("qwen2", "qwen2.5", "qwen2.5-coder"),
    8: ("llama3", "llama3.1"),
    8.2: ("qwen3",),
    8.5: ("gemma",),
    9.2: ("gemma2",),
    10.7: ("solar",),
    12: ("mistral-nemo",),
    14: ("phi3:medium",),
    14.7: ("phi4",),
    22: ("codestral",),
    32.8: ("qwq",),
    35: ("command-r",),
    70: ("llama3.3", "nemotron"),
    104: ("command-r-plus",),
    123: ("mistral-large",),
}
_WITHOUT_TAG = {name: size for size, names in _LATEST.items() for name in names}


@dataclasses.dataclass(frozen=True)
class NamedSize:
    """An upper bound for an unknown mixture of experts: `8x7b` counts what its experts share eight times."""

    parameters: int
    active_parameters: int


def size_in(name: str) -> NamedSize | None:
    """`llama3.1:405b` → 405 billion; `qwen3:235b-a22b` → 22 of 235; a name that nobody published → None."""
    text = name.lower()
    active = _ACTIVE.search(text)
    sizes = [int(experts or 1) * float(count) * _UNITS[unit] for experts, count, unit in _SIZE.findall(text)]
    if sizes and active:
        parameters = round(max(sizes))
        return NamedSize(parameters, min(parameters, round(float(active[1]) * _UNITS[active[2]])))
    return _published(text) or (NamedSize(round(max(sizes)), round(max(sizes))) if sizes else None)


def _published(text: str) -> NamedSize | None:
    file = text.rpartition("/")[2].removesuffix(".gguf")
    model, _, tag = file.partition(":")
    whole = f"{model}:{tag or 'latest'}"
    for form, total, active in _PUBLISHED:
        if form.search(whole):
            return _billions(total, active)
    size = _WITHOUT_TAG.get(whole.removesuffix(":latest"))
    return _billions(size, size) if size else None


def _billions(parameters: float, active: float) -> NamedSize:
    return NamedSize(round(parameters * 10**9), round(active * 10**9))
