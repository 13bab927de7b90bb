"""Which tokenizer belongs to a .m file."""

from __future__ import annotations

from pathlib import Path

import pytest

from synaptic.errors import EngineError
from synaptic.models.dllama_tokenizer import tokenizer_of


@pytest.mark.parametrize(
    ("model", "others", "chosen"),
    [
        ("demo-q40.m", ["demo.t"], "demo.t"),
        ("demo-q40.m", ["demo.t", "demo-q40.t"], "demo-q40.t"),
        ("demo-q40.m", ["demo.t", "llama.t"], "demo.t"),
        ("dllama_model_qwen3_8b_q40.m", ["dllama_tokenizer_qwen3_8b_q40.t", "dllama_model.t"], "dllama_tokenizer_qwen3_8b_q40.t"),
        ("dllama_model_a.m", ["other.t"], "other.t"),
    ],
)
def test_it_is_found_by_its_name(tmp_path: Path, model: str, others: list[str], chosen: str) -> None:
    for name in (model, *others):
        (tmp_path / name).touch()
    (tmp_path / "folder.t").mkdir()
    assert tokenizer_of(tmp_path / model) == tmp_path / chosen


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], "needs its tokenizer, and there is no .t file beside it"),
        (["a.t", "b.t"], "no telling which tokenizer belongs to demo.m: a.t, b.t"),
    ],
)
def test_without_one_or_with_any_of_several_it_says_so(tmp_path: Path, others: list[str], said: str) -> None:
    for name in others:
        (tmp_path / name).touch()
    with pytest.raises(EngineError, match=said):
        tokenizer_of(tmp_path / "demo.m")
