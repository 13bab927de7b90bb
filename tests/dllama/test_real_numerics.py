"""Our layers beside the real worker's: every value of every row has the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dllama.cpp import CppWorker, cpp_workers  # noqa: F401 - a fixture
from dllama.synthetic import KINDS, write_model

from synaptic.dllama import wire
from synaptic.dllama.builder import RUN_OUT, RUN_X, build_run
from synaptic.dllama.executor import Executor
from synaptic.dllama.graph import WeightMessage
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.to_worker import connect

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]
PASSES = [(0, 1), (1, 1), (2, 3), (5, 32), (37, 2), (39, 1), (40, 32), (72, 7), (79, 1), (100, 32), (200, 1), (223, 32)]
PATIENCE = 40.0
SHAPES = {kind: (kind, {}) for kind in KINDS} | {
    "odd": ("llama", {"dim": 160, "hidden": 224, "heads": 5, "kv_heads": 5, "layers": 2}),
    "odd-f32": ("llama-f32", {"dim": 168, "hidden": 232, "heads": 6, "kv_heads": 2, "head_dim": 40, "layers": 2}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_bit(shape: str, tmp_path: Path, cpp_workers: Callable[[int], list[CppWorker]]) -> None:  # noqa: F811
    kind, change = SHAPES[shape]
    file = ModelFile(write_model(tmp_path / "m.m", kind, **change))
    net, node = build_run(file.header, 0, file.header.layers, context=file.header.context)
    names = {(op.name, op.index) for segment in node.segments for op in segment.ops}
    wanted = [each for each in file.tensors if (each.name, each.index) in names and not each.name.startswith("final")]
    weights = [WeightMessage(each.name, each.index, *message) for each in wanted if (message := file.message(each, 0, 1))]
    ours, theirs = Executor(net, node), connect(cpp_workers(1)[0].peer, PATIENCE)
    for weight in weights:
        ours.load(weight)
    try:
        theirs.greet(wire.Hello(1, 0))
        theirs.ready()
        theirs.net(net)
        theirs.node(node)
        theirs.weights(weights)
        random, dim = np.random.default_rng(5), file.header.dim
        for position, count in PASSES:
            x = random.standard_normal((count, dim)).astype(np.float32)
            ours.pipes[RUN_X][0, :count] = x
            ours.forward(count, position, lambda sync: None)
            theirs.write(wire.encode_control(wire.Control(position, count)) + x.tobytes(), PATIENCE)
            expected = memoryview(bytearray(x.nbytes))
            theirs.read_into(expected, PATIENCE)
            assert ours.pipes[RUN_OUT][0, :count, dim:].tobytes() == expected, (position, count)
    finally:
        theirs.finish()
