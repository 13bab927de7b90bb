"""The graphs and weights that our root sends are those of the real one, byte for byte."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from dllama.cpp import DEMO, CppWorker, Proxy, cpp_root, cpp_workers  # noqa: F401 - a fixture
from dllama.synthetic import KINDS, write_model

from synaptic.dllama import wire
from synaptic.dllama.builder import build, build_head, build_run, build_steps
from synaptic.dllama.executor import Executor
from synaptic.dllama.graph import GraphError
from synaptic.dllama.header import read_header
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.session import ACK

DATA = Path(__file__).parents[1] / "data" / "dllama"
DEMO_MODEL = DEMO / "demo-q40.m"


def setup(model: Path, n_nodes: int, node: int) -> bytes:
    """From the graph of all nodes to that of this one."""
    header = read_header(model)
    net, nodes = build(header, n_nodes, context=header.context)
    return wire.encode_net(net) + ACK + wire.encode_node(nodes[node])


def weights(model: Path, n_nodes: int, node: int) -> bytes:
    file, sent = ModelFile(model), b""
    for tensor in file.tensors:
        if found := file.message(tensor, node, n_nodes):
            sent += wire.encode_weight_head(wire.WeightHead(tensor.name, tensor.index, found[0], found[1].nbytes)) + found[1]
    return sent + wire.NO_MORE_WEIGHTS


@pytest.mark.parametrize(("n_nodes", "node"), [(2, 1), (4, 2)])
def test_it_sends_what_the_real_root_was_recorded_to_send(n_nodes: int, node: int):
    name = f"demo-worker{node - 1}of{n_nodes - 1}"
    assert setup(DEMO_MODEL, n_nodes, node) == (DATA / f"{name}.bin").read_bytes()
    recorded = json.loads((DATA / "weights.json").read_text())[name]
    sent = weights(DEMO_MODEL, n_nodes, node)
    assert (len(sent), hashlib.sha256(sent).hexdigest()) == (recorded["bytes"], recorded["sha256"])


@pytest.mark.live
@pytest.mark.parametrize("n_nodes", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_it_sends_what_the_real_root_sends(kind, n_nodes, tmp_path, cpp_workers: Callable[[int], list[CppWorker]]):  # noqa: F811
    model = write_model(tmp_path / f"{kind}.m", kind)
    with contextlib.ExitStack() as stack:
        proxies = [Proxy(worker.peer) for worker in cpp_workers(n_nodes - 1)]
        for proxy in proxies:
            stack.callback(proxy.close)
        cpp_root(model, [proxy.peer for proxy in proxies], "hello world", 16)
        for node, proxy in enumerate(proxies, 1):
            start = len(wire.encode_hello(wire.Hello(n_nodes - 1, node - 1, tuple(p.peer for p in proxies if p is not proxy))))
            ours = ACK + ACK + setup(model, n_nodes, node) + weights(model, n_nodes, node)
            assert proxy.sent[start : start + len(ours)] == ours


@pytest.mark.parametrize("kind", KINDS)
def test_runs_of_layers_can_be_computed(kind, tmp_path):
    header = read_header(write_model(tmp_path / f"{kind}.m", kind))
    net, node = build_run(header, 2, 5, context=64)
    assert {op.index for segment in node.segments for op in segment.ops if op.weight.length} == {2, 3, 4}
    steps = build_steps(header, context=64)
    assert len(steps[1].segments) == 3 * header.layers
    for each in ((net, node), steps, build_head(header)):
        Executor(*each).close()


def test_no_graph_is_longer_than_a_worker_reads(tmp_path):
    """Our own bounds what it takes of a root."""
    header = read_header(write_model(tmp_path / "deep.m", layers=200))
    net, node = build_run(header, 0, 200, context=64)
    sent = wire.encode_node(node)
    position = 0

    def take(count: int) -> bytes:
        nonlocal position
        position += count
        return sent[position - count : position]

    assert wire.encode_node(wire.read(wire.node_config(), take)) == sent
    assert net.n_nodes == 2


@pytest.mark.parametrize(
    ("change", "n_nodes", "why"),
    [
        ({}, 8, "4 KV heads, which is too few for 8"),
        ({}, 3, "8 heads, which cannot be shared among 3"),
        ({"hidden": 192}, 4, "sizes that cannot be shared among 4"),
        ({"vocab": 767}, 2, "sizes that cannot be shared among 2"),
    ],
)
def test_what_cannot_be_shared_is_said(change, n_nodes, why, tmp_path):
    header = read_header(write_model(tmp_path / "odd.m", **change))
    with pytest.raises(GraphError, match=why):
        build(header, n_nodes, context=64)


def test_weights_that_cannot_be_computed_are_refused(tmp_path):
    header = read_header(write_model(tmp_path / "small.m"))
    with pytest.raises(GraphError, match="F16 weights"):
        build(dataclasses.replace(header, quantization="F16"), 1, context=64)
