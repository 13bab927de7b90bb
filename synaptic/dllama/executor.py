"""Runs the graph that a root sends, with kernels that are made ready while its weights are loaded."""

from __future__ import annotations

from synaptic.dllama import warming
from synaptic.dllama.compute import Compute
from synaptic.dllama.graph import NetConfig, NodeConfig
from synaptic.dllama.passes import Passes
from synaptic.dllama.setting import Place, own_place


class Executor(Passes):
    """The first pass waits for the kernels."""

    def __init__(self, net: NetConfig, node: NodeConfig, threads: int = 1, *, on: Compute | None = None, place: Place = own_place) -> None:
        super().__init__(net, node, threads, on=on, place=place)
        wanted = warming.kind(node) if self._setting.compute.is_compiled else None
        self._warming = warming.warm_up(wanted) if wanted else None

    def run(self, segment: int, batch: int, position: int) -> None:
        if self._warming:
            self._warming.join()
            self._warming = None
        super().run(segment, batch, position)
