"""A worker with the model at hand: what the root does not send comes from its own file."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
from dllama.synthetic import KINDS, write_model
from dllama.workers import begin, configure, exactly, launched  # noqa: F401 - a fixture

from synaptic.dllama import wire
from synaptic.dllama.builder import build, build_run
from synaptic.dllama.graph import FloatType, NetConfig, NodeConfig, WeightMessage
from synaptic.dllama.layout import slice_of
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.session import ACK


def messages(file: ModelFile, node: NodeConfig, index: int, nodes: int) -> list[WeightMessage]:
    """What a root sends to a node."""
    wanted = {(op.name, op.index) for segment in node.segments for op in segment.ops if op.weight.type is not FloatType.NONE}
    found = []
    for tensor in file.tensors:
        if (tensor.name, tensor.index) in wanted and slice_of(tensor, index, nodes) and (part := file.message(tensor, index, nodes)):
            found.append(WeightMessage(tensor.name, tensor.index, *part))
    return found


def send(root: socket.socket, weights: list[WeightMessage]) -> None:
    for message in weights:
        root.sendall(wire.encode_weight_head(message) + bytes(message.data))
    root.sendall(wire.NO_MORE_WEIGHTS)


def passed(root: socket.socket, net: NetConfig, node: NodeConfig) -> bytes:
    """What the worker sends in a pass over two tokens, when the root's part is the same noise every time."""
    noise, told = np.random.default_rng(3), []
    root.sendall(wire.encode_control(wire.Control(0, 2)))
    for sync in (sync for segment in node.segments for sync in segment.syncs):
        row = net.pipes[sync.pipe].size.row_bytes
        if sync.type.name == "WITH_ROOT":
            root.sendall(noise.normal(size=2 * row // 4).astype("<f4").tobytes())
            continue
        told.append(exactly(root, row // net.n_nodes * 2))
        if sync.type.name == "NODE_SLICES":
            root.sendall(told[-1])
    return b"".join(told)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_sent_comes_from_the_file(launched, tmp_path, kind):  # noqa: F811
    path = write_model(tmp_path / "m.m", kind)
    worker, file = launched("--model", str(path)), ModelFile(path)
    for (net, node), index, nodes in ((second_of_two(file), 1, 2), (build_run(file.header, 2, 5, context=64), 0, 1)):
        everything = messages(file, node, index, nodes)
        results = []
        for sent in (everything, [], everything[::3], everything[:-1]):
            with worker.connect() as root:
                configure(root, net, node)
                send(root, sent)
                assert exactly(root, 4) == ACK
                from_file = "B of them from our own file" if sent is not everything else "the same as in our own file"
                assert worker.says("weights loaded").endswith(from_file)
                results.append(passed(root, net, node))
        assert len(results[0]) > 1000
        assert set(results[0]) != {0}
        assert results == [results[0]] * 4


def second_of_two(file: ModelFile) -> tuple[NetConfig, NodeConfig]:
    net, nodes = build(file.header, 2, context=64)
    return net, nodes[1]


def test_another_model_is_not_mixed_in(launched, tmp_path):  # noqa: F811
    """A root that sends a part: it must be of the same model."""
    path = write_model(tmp_path / "m.m")
    worker, file = launched("--model", str(path)), ModelFile(path)
    net, node = second_of_two(file)
    everything = messages(file, node, 1, 2)
    other = [WeightMessage(each.name, each.index, each.offset, bytes(len(each.data))) for each in everything]
    with worker.connect() as root:
        configure(root, net, node)
        send(root, other[:1])
        assert root.recv(1) == b""
    worker.says("a file that holds another model")
    with worker.connect() as root:  # one that sends all of them may have any
        configure(root, net, node)
        send(root, other)
        assert exactly(root, 4) == ACK
    worker.says("weights loaded")
    worker.says("the model that was sent is not the one of our own file")


def test_a_graph_that_is_not_the_models_takes_nothing_from_it(launched, tmp_path):  # noqa: F811
    worker = launched("--model", str(write_model(tmp_path / "m.m")))
    larger = ModelFile(write_model(tmp_path / "larger.m", hidden=512, dim=256, heads=16))
    with worker.connect() as root:
        begin(root, *second_of_two(larger))
    assert worker.says("weights loaded") == "weights loaded"
    worker.says("the model that was sent is not the one of our own file")


@pytest.mark.parametrize(("content", "why"), [(b"", "empty"), (b"no model at all", "not a distributed-llama model")])
def test_a_file_that_is_no_model_is_named(launched, tmp_path: Path, content, why):  # noqa: F811
    (tmp_path / "m.m").write_bytes(content)
    with pytest.raises(AssertionError, match=rf"m.m is {why}"):
        launched("--model", str(tmp_path / "m.m"))
