"""What is compiled while weights are loaded is all that a pass calls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from dllama.synthetic import KINDS, write_model

PROGRAM = """
import sys
from pathlib import Path
from synaptic.dllama import attention_kernels, kernels, matmul_kernels, warming
from synaptic.dllama.builder import build
from synaptic.dllama.executor import Executor
from synaptic.dllama.model_file import ModelFile

def compiled():
    every = [each for module in (kernels, attention_kernels, matmul_kernels) for each in vars(module).values()]
    return {each.__name__: len(each.signatures) for each in every if hasattr(each, "signatures")}

net, (node,) = build(ModelFile(Path(sys.argv[1])).header, 1, context=64)
assert warming.warm_up(warming.kind(node)) is not None
assert warming.warm_up(warming.kind(node)) is None  # once is enough
for thread in __import__("threading").enumerate():
    if thread.name == "dllama kernels":
        thread.join()
before = compiled()
executor = Executor(net, node, threads=2)
for position, batch in ((0, 9), (9, 1), (10, 32)):
    executor.forward(batch, position, lambda sync: None)
assert sum(before.values()) > 8, before
assert compiled() == before, (before, compiled())
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_to_compile(kind: str, tmp_path: Path) -> None:
    words = [sys.executable, "-c", PROGRAM, str(write_model(tmp_path / "m.m", kind))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
