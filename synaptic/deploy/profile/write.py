"""A profile with a machine written into it, as YAML: what was measured stands beside what a specification says."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from synaptic.deploy.profile.accelerators import LISTED, Accelerator
from synaptic.deploy.profile.checks import network_of
from synaptic.deploy.profile.measure import Link, Measured
from synaptic.errors import UsageError

KNOCKS, LOADED = "knocks at its workers", "weights that llama-bench sent to its workers"
ASKED, STREAM = "the system", "a stream of reads by every core"


def written_into(values: Mapping[str, Any], node: str, found: Measured, *, version: str, links: Sequence[Link] = ()) -> str:
    """
    The profile as YAML, as the next version. Raises UsageError: it has no such node, or that one is of another kind.

    `links`: each counts for the network that its address is one of; of several in one, the slowest.
    """
    import yaml

    fresh = copy.deepcopy(dict(values))
    if node not in fresh["nodes"]:
        raise UsageError(f"no node is called {node}", hint=f"one of {', '.join(fresh['nodes'])}")
    kind = fresh["node_classes"][fresh["nodes"][node]["class"]]
    if kind.get("arch", found.arch) != found.arch:
        raise UsageError(f"{node} is {kind['arch']}, and this machine is {found.arch}", hint="run profile probe on the machine itself")
    fresh["version"] = version
    _write_class(kind, found)
    by_network: dict[str, list[Link]] = {}
    for link in links:
        by_network.setdefault(_network_of(fresh, link.host), []).append(link)
    for name, own in by_network.items():
        _write_network(fresh["networks"][name], own, found.at)
    return yaml.safe_dump(fresh, sort_keys=False, allow_unicode=True, width=120)


def skeleton(name: str, found: Measured) -> str:
    """A profile of this machine alone: a worker and a head on loopback."""
    import yaml

    kind: dict[str, Any] = {"arch": found.arch}
    _write_class(kind, found)
    return yaml.safe_dump(
        {
            "schema": 1,
            "name": name,
            "version": "0.1",
            "status": "active",
            "about": "this machine alone; add the others",
            "networks": {"lan": {"kind": "loopback", "cidr": "127.0.0.0/8", "gbps": None, "rtt_us": None}},
            "node_classes": {"this-kind": kind},
            "nodes": {"node0": {"class": "this-kind", "addr": {"lan": "127.0.0.1"}}},
            "roles": {"llama_head": "node0", "llama_rpc": ["node0"], "monitoring": ["node0"]},
            "services": {"network": "lan", "models": {"dir": "/srv/models"}, "llama_head": {"model": "/srv/models/model.gguf"}},
        },
        sort_keys=False,
        width=120,
    )


def write_devices(devices: list[dict[str, Any]], found: Sequence[Accelerator], at: str) -> None:
    """`devices` of a profile's class: those that the engine can use get the memory that it found; where none are named, all are."""
    if not devices:
        devices += [_named(each) for each in found if each.vendor]
    usable = [device for device in devices if device.get("backend")]
    if len(usable) != len(found):
        return  # which is which?
    for device, each in zip(usable, found, strict=True):
        device["mem_gib"] = measured_number(device.get("mem_gib"), each.mem_gib, LISTED, at)


def measured_number(before: Mapping[str, Any] | None, value: float, source: str, at: str) -> dict[str, Any]:
    """What a specification says stays beside it."""
    spec = {"spec": before["spec"]} if before and before.get("spec") is not None else {}
    return {**spec, "measured": value, "source": source, "at": at}


def _write_class(kind: dict[str, Any], found: Measured) -> None:
    cpu = kind.setdefault("cpu", {})
    cpu["model"] = found.cpu or cpu.get("model")
    cpu["cores"] = measured_number(cpu.get("cores"), found.cores, ASKED, found.at)
    cpu["mem_gib"] = measured_number(cpu.get("mem_gib"), found.mem_gib, ASKED, found.at)
    cpu["mem_bw_gbs"] = measured_number(cpu.get("mem_bw_gbs"), found.bandwidth, STREAM, found.at)
    if found.accelerators:
        write_devices(kind.setdefault("devices", []), found.accelerators, found.at)
    kind["os"] = {"distro": found.distro, "systemd": found.systemd, "cgroup": found.cgroup}


def _named(each: Accelerator) -> dict[str, Any]:
    return {"id": each.id, "kind": "gpu", "vendor": each.vendor, "model": each.model, "backend": [each.backend]}


def _network_of(values: Mapping[str, Any], host: str) -> str:
    """That of the node which has this address; an address of none is taken for the network that workers listen on."""
    having = (network for node in values["nodes"].values() for network, address in node["addr"].items() if address == host)
    return next(having, None) or network_of(values)


def _write_network(network: dict[str, Any], links: Sequence[Link], at: str) -> None:
    network["rtt_us"] = measured_number(network.get("rtt_us"), max(link.rtt_us for link in links), KNOCKS, at)
    known = [link.gbps for link in links if link.gbps]
    if known:
        network["gbps"] = measured_number(network.get("gbps"), min(known), LOADED, at)
