"""
Proof of the split: what llama-server's log says each device holds.

    load_tensors: RPC0[127.0.0.1:50211] model buffer size =     0.80 MiB      keyed by the endpoint in brackets: every
    llama_kv_cache: RPC0[127.0.0.1:50211] KV buffer size =     0.75 MiB       worker calls its first device RPC0
    llama_kv_cache: size =    1.00 MiB (   512 cells,   4 layers,  1/1 seqs), …
    sched_reserve: RPC0[127.0.0.1:50211] compute buffer size =     7.29 MiB

A dry run (-fit on) prints the block twice with zeros first: the last word counts. The log names layers only at a
verbosity that would write hundreds of lines per answer; the KV cache is the same size for each layer, so a device's
share of it counts its layers. Where relays stand between, the brackets name those; they tell whom they stand for.
"""

from __future__ import annotations

import dataclasses
import re

from synaptic.process import relay_log

_BUFFER = re.compile(r"(?P<device>[\w-]+(?:\[(?P<endpoint>[^\]]+)\])?)\s+(?P<kind>model|KV|compute) buffer size =\s*(?P<mib>[\d.]+) MiB")
_KV_TOTAL = re.compile(r"size =\s*(?P<mib>[\d.]+) MiB \(\s*\d+ cells,\s*(?P<layers>\d+) layers")
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers")
_WORDS = ("size =", "stands for", "offloaded")
MIB = 1024 * 1024
HERE = "here"  # devices of the coordinator's own machine


@dataclasses.dataclass(frozen=True)
class Share:
    """What one worker (or this machine, `here`) holds, in bytes. `from_file`: weights that it read from a file there; none were sent."""

    endpoint: str
    model_bytes: int = 0
    kv_bytes: int = 0
    compute_bytes: int = 0
    layers: int = 0
    from_file: bool = False


class PlacementReader:
    """Feed it every log line; ask it for the shares."""

    def __init__(self) -> None:
        self.offloaded: tuple[int, int] | None = None  # layers, counting the output as one
        self.behind: dict[str, str] = {}  # a relay's address → the worker that it stands for
        self._bytes: dict[str, dict[str, dict[str, int]]] = {}  # endpoint → kind → device → bytes
        self._kv: dict[str, int] = {}  # the KV block being read
        self._layers: dict[str, int] = {}

    def feed(self, line: str) -> None:
        if not any(word in line for word in _WORDS):  # as nearly all: answers are logged too
            return
        if name := relay_log.names(line):
            self.behind[name[0]] = name[1]
        elif match := _BUFFER.search(line):
            self._add(
                self.behind.get(match["endpoint"], match["endpoint"]) or HERE,
                match["kind"],
                match["device"],
                round(float(match["mib"]) * MIB),
            )
        elif match := _KV_TOTAL.search(line):
            self._count_layers(int(match["layers"]))
        elif match := _OFFLOADED.search(line):
            self.offloaded = int(match[1]), int(match[2])
            self._layers.clear()

    def shares(self) -> tuple[Share, ...]:
        """Workers in the order of their names, this machine last."""
        names = sorted(self._bytes, key=lambda name: (name == HERE, name))
        return tuple(self._share(name) for name in names)

    def _add(self, endpoint: str, kind: str, device: str, size: int) -> None:
        self._bytes.setdefault(endpoint, {}).setdefault(kind, {})[device] = size
        if kind == "KV":
            self._kv[endpoint] = self._kv.get(endpoint, 0) + size

    def _count_layers(self, layers: int) -> None:
        total = sum(self._kv.values())
        for endpoint, size in self._kv.items():
            if total:
                self._layers[endpoint] = self._layers.get(endpoint, 0) + round(layers * size / total)
        self._kv.clear()

    def _share(self, name: str) -> Share:
        sizes = {kind: sum(devices.values()) for kind, devices in self._bytes[name].items()}
        return Share(name, sizes.get("model", 0), sizes.get("KV", 0), sizes.get("compute", 0), self._layers.get(name, 0))
