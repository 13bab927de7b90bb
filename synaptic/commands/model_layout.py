"""What `model show` tells of a .m file beyond its sizes: where its tensors lie, and how many bytes each node would hold."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from synaptic.errors import EngineError
from synaptic.results import Cell, Rows, gib
from synaptic.terminal import one_line

if TYPE_CHECKING:
    from synaptic.dllama.header import DllamaHeader
    from synaptic.dllama.layout import Tensor

MOST_NODES = 64


@dataclasses.dataclass(frozen=True)
class Place:
    """`offset`: in the file; of what each layer has, in the first one. `count`: how often each layer has it."""

    tensor: str
    layer: bool
    kind: str
    rows: int
    columns: int
    offset: int
    bytes: int
    cut: str
    count: int = 1


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Of that many nodes, the root first: weights and, for the whole context, keys and values; in bytes."""

    nodes: int
    root_weights: int
    worker_weights: int
    kv: int


@dataclasses.dataclass(frozen=True)
class Layout:
    tensors: tuple[Place, ...]
    layer_stride: int
    clusters: tuple[Cluster, ...]

    @property
    def tables(self) -> list[tuple[str, Rows[Any]]]:
        return [("tensors", self._places()), ("bytes per node", self._clusters())]

    @property
    def record(self) -> dict[str, object]:
        return {"tensors": self.tensors, "layer_stride": self.layer_stride, "clusters": self.clusters}

    def _places(self) -> Rows[Place]:
        return Rows(
            key="tensors",
            items=self.tensors,
            columns={
                "tensor": lambda place: place.tensor + (f" × {place.count}" if place.count > 1 else ""),
                "kind": lambda place: place.kind,
                "shape": lambda place: f"{place.rows} × {place.columns}",
                "offset": lambda place: str(place.offset),
                "bytes": lambda place: str(place.bytes),
                "per node": lambda place: Cell(place.cut, "dim"),
            },
            summary=f"tensors named block… are in every layer, each layer {self.layer_stride} bytes after the one before",
        )

    def _clusters(self) -> Rows[Cluster]:
        return Rows(
            key="clusters",
            items=self.clusters,
            columns={
                "nodes": lambda each: str(each.nodes),
                "root": lambda each: gib(each.root_weights),
                "each worker": lambda each: gib(each.worker_weights) if each.nodes > 1 else "–",
                "keys and values": lambda each: f"{gib(each.kv)} more",
            },
        )


def header_facts(header: DllamaHeader) -> list[tuple[str, str]]:
    """What is in the header beside the sizes that every model has."""
    rope = {0: "pairs side by side", 1: "halves", 2: "pairs side by side, scaled as in Llama 3.1"}.get(header.rope_type, "unknown")
    stretched = f", for contexts {header.rope_scaling:g} times {header.rope_original_context}" if header.rope_scaling != 1 else ""
    width = f"{header.experts} of {header.moe_hidden_dim}, {header.active_experts} used" if header.experts else str(header.hidden_dim)
    return [
        ("width", f"{header.dim}, heads of {header.head_dim}"),
        ("feed forward", width),
        ("rope", f"{rope}, base {header.rope_theta:g}{stretched}"),
        ("norm epsilon", f"{header.norm_epsilon:g}"),
        ("header", f"{header.header_bytes} bytes"),
    ]


def layout_of(header: DllamaHeader, name: str) -> Layout:
    """EngineError when the file's shape is none that a model can have."""
    from synaptic.dllama.header import NotAModelError
    from synaptic.dllama.layout import kv_bytes, tensors, uncuttable, weight_bytes

    try:
        found = tensors(header)
    except NotAModelError as error:
        raise EngineError(f"{one_line(name, 60)} {error}") from error
    places = tuple(_place(each, found) for each in found if each.index == 0 and each.expert == 0)
    counts = [nodes for nodes in range(1, min(header.kv_heads, MOST_NODES) + 1) if uncuttable(header, nodes) is None]
    clusters = tuple(
        Cluster(nodes, weight_bytes(header, 0, nodes), weight_bytes(header, 1, nodes) if nodes > 1 else 0, kv_bytes(header, nodes))
        for nodes in counts
    )
    return Layout(places, header.bytes_per_layer, clusters)


def _place(tensor: Tensor, among: tuple[Tensor, ...]) -> Place:
    count = sum(each.name == tensor.name and each.index == 0 for each in among)
    cut = {"root": "root only", "rows": "rows", "columns": "columns", "whole": "all of it"}[tensor.cut.value]
    is_in_layers = tensor.name.startswith("block")
    return Place(tensor.name, is_in_layers, tensor.kind, tensor.rows, tensor.columns, tensor.offset, tensor.bytes, cut, count)
