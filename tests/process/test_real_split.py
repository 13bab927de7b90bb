"""The plan and what a real llama-server's log says of it: the same layers, and nearly the same bytes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from conftest import DEMO, end

from synaptic.models.catalog import Catalog
from synaptic.models.split import read_whole
from synaptic.planning.placement import Machine, place
from synaptic.planning.plan import Plan
from synaptic.planning.shape import Shape
from synaptic.planning.speeds import Speed
from synaptic.process.coordinator import command_line
from synaptic.process.placement import PlacementReader
from synaptic.process.placement import Share as Held
from synaptic.process.probe_model import probe_model

pytestmark = pytest.mark.live
MIB = 1 << 20


def tied_model(path: Path, layers: int = 11, width: int = 256, forward: int = 640, vocabulary: int = 8192) -> Path:
    """Its embedding is its output, and its keys and values have as many heads as its queries."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(forward)
    writer.add_head_count(4)
    writer.add_context_length(4096)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    writer.add_tokenizer_model("no_vocab")
    inside = {"attn_q": (width, width), "attn_k": (width, width), "attn_v": (width, width), "attn_output": (width, width)}
    inside |= {"ffn_gate": (forward, width), "ffn_up": (forward, width), "ffn_down": (width, forward)}
    inside |= {"attn_norm": (width,), "ffn_norm": (width,)}
    tensors = {"token_embd": (vocabulary, width), "output_norm": (width,)}
    tensors |= {f"blk.{layer}.{name}": shape for layer in range(layers) for name, shape in inside.items()}
    for name, shape in tensors.items():
        writer.add_tensor(f"{name}.weight", np.full(shape, 0.01, np.float16 if len(shape) == 2 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def held_by_real_workers(program: Path, plan: Plan, log: Path) -> dict[str, Held]:
    with log.open("wb") as output:
        words = command_line(program, plan, 1)
        environment = os.environ | {"GGML_NO_BACKTRACE": "1"}
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
    try:
        while "listening on http" not in log.read_text(errors="replace"):
            assert process.poll() is None, log.read_text(errors="replace")[-2000:]
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
    finally:
        end(process)
    reader = PlacementReader()
    for line in log.read_text(errors="replace").splitlines():
        reader.feed(line)
    return {share.endpoint: share for share in reader.shares()}


MODELS: dict[str, Callable[[Path], Path]] = {
    "demo": lambda folder: DEMO,
    "tied": lambda folder: tied_model(folder / "tied.gguf"),
    "probe": probe_model,
}


@pytest.mark.parametrize(
    ("model", "memory", "speeds", "context", "slots"),
    [
        ("demo", (1, 1), None, 512, 1),
        ("demo", (1, 1, 1), None, 512, 2),
        ("tied", (4, 1, 2), None, 3000, 1),
        ("tied", (1, 1), (10, 100), 2048, 3),
        ("probe", (3, 1), None, 4096, 1),
        ("probe", (1, 1, 1), (10, 11, 12), 2000, 2),
    ],
)
def test_every_worker_holds_what_the_plan_says(llama_server, rpc_worker, tmp_path, model, memory, speeds, context, slots) -> None:
    path = MODELS[model](tmp_path)
    shape = Shape.of(read_whole(path))
    workers = [rpc_worker().endpoint for _ in memory]
    machines = [Machine(worker, size << 30) for worker, size in zip(workers, memory, strict=True)]
    if speeds:
        machines = [dataclasses.replace(each, speed=Speed(speed * 1e9)) for each, speed in zip(machines, speeds, strict=True)]
    placed = place(shape, machines, context=context, slots=slots, must_use_all=True)
    assert len(placed.shares) == len(workers)
    found = Catalog(list, None).find(str(path))
    plan = Plan(found, tuple(share.endpoint for share in placed.shares), context, slots, placed.tensor_split)
    held = held_by_real_workers(llama_server, plan, tmp_path / "log")
    for share in placed.shares:
        real = held[str(share.endpoint)]
        assert real.layers == share.layers
        assert real.model_bytes == pytest.approx(share.weight_bytes, rel=0.02, abs=0.02 * MIB)
        assert real.kv_bytes == pytest.approx(share.kv_bytes, rel=0.01, abs=0.02 * MIB)
        least = 0.85 if share.layers > 1 else 0.5  # a single layer needs less
        assert least * share.compute_bytes - MIB < real.compute_bytes < 1.05 * share.compute_bytes + MIB
