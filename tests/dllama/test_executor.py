"""Graphs are run as the original runs them; and what a hostile root sends is refused before it harms."""

from __future__ import annotations

import dataclasses
import gc
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from dllama.recorded_rows import PASSES, ROWS, SEED
from dllama.synthetic import write_model

from synaptic.dllama.builder import LOGITS, RUN_OUT, RUN_X, X, build, build_run
from synaptic.dllama.compute import Compute, compute
from synaptic.dllama.crew import Crew
from synaptic.dllama.executor import Executor
from synaptic.dllama.graph import (
    AttentionConfig,
    Buffer,
    FloatType,
    GraphError,
    InvRmsConfig,
    MatmulConfig,
    MoeGateConfig,
    MulConfig,
    NetConfig,
    NoConfig,
    NodeConfig,
    OpCode,
    OpConfig,
    Pipe,
    Pointer,
    RmsNormConfig,
    ScaleConfig,
    Segment,
    ShiftConfig,
    Size3D,
    Source,
    View,
    WeightMessage,
)
from synaptic.dllama.model_file import ModelFile

DEMO = Path(__file__).parents[2] / "config" / "demo" / "demo-q40.m"
FAST, PLAIN = compute(compiled=True), compute(compiled=False)
F32, Q40, Q80 = FloatType.F32, FloatType.Q40, FloatType.Q80


def loaded(path: Path, *, on: Compute = FAST, threads: int = 1, run: bool = False) -> Executor:
    """The whole model; `run`: its layers only, as a worker has them."""
    file = ModelFile(path)
    layers = file.header.layers
    net, node = build_run(file.header, 0, layers, context=file.header.context) if run else one_node(file)
    executor = Executor(net, node, threads, on=on)
    wanted = {(op.name, op.index) for segment in node.segments for op in segment.ops}
    for tensor in file.tensors:
        if (tensor.name, tensor.index) in wanted and (message := file.message(tensor, 0, 1)):
            executor.load(WeightMessage(tensor.name, tensor.index, *message))
    return executor


def one_node(file: ModelFile) -> tuple[NetConfig, NodeConfig]:
    net, (node,) = build(file.header, 1, context=file.header.context)
    return net, node


def rows_of(executor: Executor, *, passes: Sequence[tuple[int, int]] = PASSES) -> list[np.ndarray]:
    """What the layers make of random rows."""
    random, found = np.random.default_rng(SEED), []
    dim = executor.pipes[RUN_X].shape[-1]
    for position, count in passes:
        executor.pipes[RUN_X][0, :count] = random.standard_normal((count, dim)).astype(np.float32)
        executor.forward(count, position, lambda sync: None)
        found.append(executor.pipes[RUN_OUT][0, :count, dim:].copy())
    return found


# ── it computes what the original computes ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ROWS)
def test_layers_are_computed_as_the_original_does(kind: str, tmp_path: Path) -> None:
    executor = loaded(write_model(tmp_path / "m.m", kind), run=True)
    found = [rows[-1, :4] for rows in rows_of(executor)]
    assert np.allclose(found, ROWS[kind], atol=1e-5)


@pytest.mark.parametrize("kind", ROWS)
def test_without_numba_it_is_the_same(kind: str, tmp_path: Path) -> None:
    """A q80 value on the edge may fall to the other side where the C library's exponential is not numpy's: of few values."""
    path = write_model(tmp_path / "m.m", kind, layers=1)
    few = ((0, 9), (9, 1), (10, 2))
    fast, plain = (rows_of(loaded(path, on=on, run=True), passes=few) for on in (FAST, PLAIN))
    assert np.mean([np.isclose(a, b, atol=1e-5).all() for x, y in zip(fast, plain, strict=True) for a, b in zip(x, y, strict=True)]) > 0.8


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing(threads: int, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.m", "llama", hidden=32768, layers=1)
    passes = ((0, 32), (200, 32), (232, 1))  # long enough for attention to be shared too
    one, many = (rows_of(loaded(path, threads=count, run=True), passes=passes) for count in (1, threads))
    assert all((a == b).all() for a, b in zip(one, many, strict=True))


def test_the_demo_says_what_it_says_in_the_original() -> None:
    """Greedily, the prompt "what is a worker"; recorded from the real program, with its mistake about the last token."""
    executor, file = loaded(DEMO), ModelFile(DEMO)
    table = file.raw(file.tensor("embedding")).view("<f4")

    def step(tokens: list[int], position: int) -> int:
        executor.pipes[X][0, : len(tokens)] = table[tokens]
        executor.forward(len(tokens), position, lambda sync: None)
        return int(executor.pipes[LOGITS][0, len(tokens) - 1].argmax())

    step([762, 88, 275, 277, 259], 0)
    answer = [258]
    for position in range(5, 45):
        answer.append(step(answer[-1:], position))
    assert answer[1:25] == [
        460,
        323,
        766,
        655,
        367,
        69,
        291,
        446,
        291,
        446,
        654,
        66,
        66,
        81,
        397,
        259,
        693,
        323,
        558,
        693,
        305,
        263,
        658,
        15,
    ]
    assert answer[25:] == [766, 655, 462, 80, 510, 305, 263, 586, 264, 66, 87, 268, 329, 333, 697, 412]


def test_a_prompt_in_batches_is_nearly_the_prompt_in_tokens(tmp_path: Path) -> None:
    """With floats only the order of additions differs. It attends to all that came before, however it came."""
    path = write_model(tmp_path / "m.m", "llama-f32")
    passes = {"at once": [(0, 32), (32, 9)], "in pieces": [(0, 7), (7, 1), (8, 2), (10, 31)], "alone": [(p, 1) for p in range(41)]}
    found = [np.concatenate(rows_of(loaded(path, run=True), passes=each)) for each in passes.values()]
    assert np.allclose(found[0], found[1], atol=1e-4)
    assert np.allclose(found[0], found[2], atol=1e-4)


def test_a_pass_claims_no_memory_of_its_own(tmp_path: Path) -> None:
    import tracemalloc

    executor = loaded(write_model(tmp_path / "m.m", "qwen3moe"))
    for batch in (1, 2):
        executor.forward(batch, 0, lambda sync: None)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for position in range(2, 100):
            executor.forward(1, position, lambda sync: None)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now - before < 2000
    assert peak - before < 20_000


# ── what does not fit is refused ─────────────────────────────────────────────────────────────────────────────


def test_positions_and_batches_have_bounds() -> None:
    executor = loaded(DEMO)
    context = ModelFile(DEMO).header.context
    for batch, position in ((1, context), (2, context - 1), (0, 0), (33, 0), (1, -1), (1, 2**32)):
        with pytest.raises(GraphError):
            executor.run(0, batch, position)
    executor.run(1, 1, context - 1)


def test_weights_have_their_place() -> None:
    executor = loaded(DEMO)
    for name, index, offset, count in (
        ("block_matmul_q", 99, 0, 18),
        ("nothing", 0, 0, 4),
        ("final_norm", 0, 1024, 4),
        ("final_norm", 0, -4, 4),
    ):
        with pytest.raises(GraphError, match=name):
            executor.load(WeightMessage(name, index, offset, bytes(count)))
    with pytest.raises(GraphError, match="bytes"):
        executor.load(WeightMessage("block_matmul_q", 0, 0, bytes(1 << 20)))


def graph(code: OpCode, config: object, weight: Size3D, *sizes: Size3D, views: tuple[View, View] = (View.BATCH, View.BATCH)) -> Executor:
    """One operation from buffer 0 to buffer 1; others for what its configuration names."""
    net = NetConfig(4, 2, (Pipe("P", Size3D(F32, 1, 4, 1)),))
    ends = [Pointer(Source.BUFFER, index, view) for index, view in enumerate(views)]
    op = OpConfig(code, "op", 0, weight, ends[0], ends[1], config)  # type: ignore[arg-type]
    return Executor(net, NodeConfig(1, tuple(Buffer(str(k), size) for k, size in enumerate(sizes)), (Segment((op,), ()),)))


def rows(columns: int, kind: FloatType = F32, *, z: int = 1, y: int = 4) -> Size3D:
    return Size3D(kind, z, y, columns)


NONE, PLAIN_CONFIG = Size3D(FloatType.NONE, 0, 0, 0), NoConfig()
ATTENTION = AttentionConfig(4, 4, 2, 8, 16, 32, 16, 0, 2, 3, 4, 5)
CACHES = (rows(32), rows(32), rows(32), rows(16, y=16), rows(16, y=16), rows(64))
LIES: dict[str, Callable[[], Executor]] = {
    "rows of another width": lambda: graph(OpCode.CAST, PLAIN_CONFIG, NONE, rows(32), rows(64)),
    "more layers out than in": lambda: graph(OpCode.CAST, PLAIN_CONFIG, NONE, rows(32), rows(32, z=2)),
    "fewer rows than a batch": lambda: graph(OpCode.CAST, PLAIN_CONFIG, NONE, rows(32, y=3), rows(32)),
    "no rows": lambda: graph(OpCode.CAST, PLAIN_CONFIG, NONE, rows(32, y=0), rows(32)),
    "too much memory": lambda: graph(OpCode.CAST, PLAIN_CONFIG, NONE, rows(2**31, z=2**31), rows(2**31, z=2**31)),
    "a whole buffer": lambda: graph(OpCode.CAST, PLAIN_CONFIG, NONE, rows(32), rows(32), views=(View.RAW, View.BATCH)),
    "slices of one and a half": lambda: graph(
        OpCode.SILU, PLAIN_CONFIG, NONE, rows(3), rows(3), views=(View.BATCHED_SLICE, View.BATCHED_SLICE)
    ),
    "slices of half a block": lambda: graph(
        OpCode.CAST, PLAIN_CONFIG, NONE, rows(16), rows(32, Q80), views=(View.BATCH, View.BATCHED_SLICE)
    ),
    "a buffer there is not": lambda: graph(OpCode.CAST, PLAIN_CONFIG, NONE, rows(32)),
    "half floats": lambda: graph(OpCode.CAST, PLAIN_CONFIG, NONE, rows(32), rows(32, FloatType.F16)),
    "silu of blocks": lambda: graph(OpCode.SILU, PLAIN_CONFIG, NONE, rows(32, Q80), rows(32, Q80)),
    "sums of odd slices": lambda: graph(OpCode.MERGE_ADD, PLAIN_CONFIG, NONE, rows(48), rows(32)),
    "a sum to itself": lambda: graph(OpCode.MERGE_SUM, PLAIN_CONFIG, NONE, rows(32, z=2), rows(33)),
    "no groups": lambda: graph(OpCode.INV_RMS, InvRmsConfig(1e-5, 0), NONE, rows(32), rows(1)),
    "more groups than places": lambda: graph(OpCode.INV_RMS, InvRmsConfig(1e-5, 4), NONE, rows(32), rows(3)),
    "groups of twelve": lambda: graph(OpCode.INV_RMS, InvRmsConfig(1e-5, 2), NONE, rows(24), rows(2)),
    "a config of another": lambda: graph(OpCode.INV_RMS, PLAIN_CONFIG, NONE, rows(32), rows(1)),
    "a short norm": lambda: graph(OpCode.RMS_NORM, RmsNormConfig(2, 1), rows(31, y=1), rows(32), rows(32), rows(1)),
    "factors there are not": lambda: graph(OpCode.RMS_NORM, RmsNormConfig(7, 1), rows(32, y=1), rows(32), rows(32)),
    "a flat matrix": lambda: graph(OpCode.MATMUL, MatmulConfig(0, 0, 2), Size3D(Q40, 1, 32, 63), rows(32, Q80), rows(64)),
    "floats by blocks": lambda: graph(OpCode.MATMUL, MatmulConfig(0, 0, 2), Size3D(F32, 1, 32, 64), rows(32, Q80), rows(64)),
    "no experts": lambda: graph(OpCode.MATMUL, MatmulConfig(2, 3, 2), Size3D(Q40, 2, 32, 64), rows(32, Q80, z=3), rows(64, z=3), rows(3)),
    "experts by no numbers": lambda: graph(
        OpCode.MATMUL, MatmulConfig(4, 2, 2), Size3D(Q40, 4, 32, 64), rows(32, Q80, z=2), rows(64, z=2), rows(1)
    ),
    "a product of another width": lambda: graph(OpCode.MUL, MulConfig(2), NONE, rows(32), rows(32), rows(31)),
    "factors for fewer layers": lambda: graph(OpCode.SCALE, ScaleConfig(2), NONE, rows(32, z=2), rows(32, z=2), rows(1)),
    "a short cache": lambda: graph(OpCode.SHIFT, ShiftConfig(0), NONE, rows(32), rows(16, y=9), views=(View.BATCH, View.RAW)),
    "positions from elsewhere": lambda: graph(OpCode.SHIFT, ShiftConfig(1), NONE, rows(32), rows(32, y=9), views=(View.BATCH, View.RAW)),
    "more choices than experts": lambda: graph(OpCode.MOE_GATE, MoeGateConfig(3, 1, 2), NONE, rows(2), rows(1, z=3), rows(3)),
    "choices without places": lambda: graph(OpCode.MOE_GATE, MoeGateConfig(2, 1, 2), NONE, rows(4), rows(1, z=2), rows(1)),
    **{
        f"attention with {name} = {value}": lambda name=name, value=value: graph(
            OpCode.MULTIHEAD_ATT, dataclasses.replace(ATTENTION, **{name: value}), NONE, *CACHES
        )
        for name, value in (
            {"n_heads0": 5, "head_dim": 4, "seq_len": 17, "kv_dim0": 8, "query_buffer": 3, "key_cache_buffer": 0}
            | {"n_kv_heads": 4, "position_pipe": 1, "q_slice_d0": 31, "n_heads": 1, "value_cache_buffer": 2**31}
        ).items()
    },
}


@pytest.mark.parametrize("lie", LIES)
def test_a_graph_that_lies_is_refused(lie: str) -> None:
    with pytest.raises(GraphError):
        LIES[lie]()


def test_an_honest_graph_is_not() -> None:
    graph(OpCode.MULTIHEAD_ATT, ATTENTION, NONE, *CACHES).run(0, 4, 12)
    graph(OpCode.MOE_GATE, MoeGateConfig(2, 1, 2), NONE, rows(4), rows(1, z=2), rows(2)).run(0, 4, 0)


@pytest.mark.parametrize("token", [-1, 5, float("nan"), float("inf"), 1e30])
def test_a_token_that_is_none_ends_the_pass(token: float) -> None:
    net = NetConfig(1, 1, (Pipe("P", Size3D(F32, 1, 1, 1)), Pipe("X", Size3D(F32, 1, 1, 8))))
    ends = [Pointer(Source.PIPE, index, View.BATCH) for index in range(2)]
    op = OpConfig(OpCode.EMBEDDING, "embedding", 0, Size3D(F32, 1, 5, 8), ends[0], ends[1], NoConfig())
    executor = Executor(net, NodeConfig(0, (), (Segment((op,), ()),)))
    executor.load(WeightMessage("embedding", 0, 0, np.arange(40, dtype=np.float32).tobytes()))
    executor.pipes[0][:] = 4
    executor.run(0, 1, 0)
    assert executor.pipes[1].reshape(-1).tolist() == list(range(32, 40))
    executor.pipes[0][:] = token
    with pytest.raises(GraphError, match="token"):
        executor.run(0, 1, 0)


# ── threads ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_crew_does_all_of_it_once() -> None:
    done = np.zeros(100, int)

    def part(extra: int, first: int, last: int) -> None:
        done[first:last] += extra

    crew = Crew(4)
    for count in (1, 2, 3, 100):
        crew.share(part, count, 1)
    crew.dismiss()
    assert crew.size == min(4, os.cpu_count() or 1)
    assert done.tolist() == [4, 3, 2] + [1] * 97


def test_an_error_in_a_crew_comes_back_and_the_crew_stays() -> None:
    def part(first: int, last: int) -> None:
        if last == 8:
            raise ValueError("the last")

    crew = Crew(2)
    for _ in range(3):
        with pytest.raises(ValueError, match="the last"):
            crew.share(part, 8)
    crew.share(part, 7)
    crew.dismiss()


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "forgotten"])
def test_an_executor_leaves_no_threads(*, is_closed: bool) -> None:
    before = set(threading.enumerate())
    executor = loaded(DEMO, threads=2)
    executor.forward(1, 0, lambda sync: None)
    started = set(threading.enumerate()) - before
    if is_closed:
        executor.close()
    del executor
    gc.collect()
    for thread in started:
        thread.join(30)
    assert not any(thread.is_alive() for thread in started)
