#!/usr/bin/env python3
"""Print, as Markdown, what published models have in parameters and what their names alone tell here."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from synaptic.models.name import size_in

# Name, billions of parameters, of them for each token, as the makers published them. 0: the name stands for several sizes.
PUBLISHED = (
    ("llama3.1:405b", 405, 405),
    ("llama3.1:8b", 8.03, 8.03),
    ("llama3.2", 3.21, 3.21),
    ("llama3.2:1b", 1.24, 1.24),
    ("llama3.3:70b", 70.6, 70.6),
    ("llama2:70b-chat-q8_0", 69, 69),
    ("llama4:scout", 109, 17),
    ("hf.co/unsloth/Llama-4-Scout-17B-16E-Instruct-GGUF:Q4_K_M", 109, 17),
    ("llama4:17b-maverick-128e-instruct-q4_K_M", 400, 17),
    ("llama4:16x17b", 109, 17),
    ("deepseek-r1:671b", 671, 37),
    ("deepseek-r1:70b", 70.6, 70.6),
    ("deepseek-r1", 0, 0),
    ("deepseek-v3", 671, 37),
    ("mixtral:8x7b", 46.7, 12.9),
    ("mixtral:8x22b", 141, 39),
    ("qwen3:235b-a22b", 235, 22),
    ("qwen3:30b-a3b", 30.5, 3.3),
    ("qwen3-coder:480b", 480, 35),
    ("qwen2.5:72b", 72.7, 72.7),
    ("qwen2.5-coder:1.5b-instruct-q4_K_M", 1.54, 1.54),
    ("kimi-k2:1t", 1000, 32),
    ("gpt-oss:20b", 20.9, 3.6),
    ("gpt-oss:120b", 116.8, 5.1),
    ("gemma3n:e4b", 6.9, 4),
    ("gemma3:27b", 27.4, 27.4),
    ("gemma2:9b", 9.24, 9.24),
    ("phi4", 14.7, 14.7),
    ("phi3", 3.82, 3.82),
    ("mistral:latest", 7.25, 7.25),
    ("mistral-small:24b", 23.6, 23.6),
    ("smollm2:135m", 0.135, 0.135),
    ("codellama:13b", 13, 13),
    ("command-r-plus", 104, 104),
    ("glm-4.5:355b-a32b", 355, 32),
    ("yi:34b", 34.4, 34.4),
)


def main() -> None:
    print("| name | published | found | off by |\n|---|---|---|---|")
    for name, total, active in PUBLISHED:
        found = size_in(name)
        shown = _both(found.parameters / 1e9, found.active_parameters / 1e9) if found else "unknown"
        off = f"{abs(found.parameters / 1e9 / total - 1):.0%}" if found and total else "–"
        print(f"| {name} | {_both(total, active) if total else 'several sizes'} | {shown} | {off} |")


def _both(total: float, active: float) -> str:
    return f"{total:g}B" if total == active else f"{total:g}B, {active:g}B for each token"


if __name__ == "__main__":
    main()
