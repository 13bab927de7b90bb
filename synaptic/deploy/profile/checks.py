"""What a schema cannot say of a profile: that names lead somewhere, that addresses lie in their networks, that ports do not clash."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from synaptic.deploy.profile.document import Document, Place
from synaptic.deploy.profile.profile import MANY, is_ip

Values = Mapping[str, Any]
KEYLESS = ("llama_rpc", "dllama_worker", "vllm_worker")
PORTS = (  # a role, and the ports that it listens on: service, key, what is taken without one
    ("llama_rpc", "llama_rpc", "port", 50052),
    ("llama_head", "llama_head", "port", 8080),
    ("dllama_worker", "dllama_worker", "port", 9999),
    ("dllama_root", "dllama_root", "port", 9990),
    ("vllm_head", "vllm", "port", 8000),
    ("vllm_head", "vllm", "master_port", 29501),
    ("vllm_head", "vllm", "ray_port", 6379),
)


def check(document: Document, classes: Mapping[str, Values]) -> None:
    """`document` has the form of the schema. Raises UsageError for the first thing that is wrong."""
    values: Values = document.values
    for name, kind in classes.items():
        if "arch" not in kind:
            raise document.wrong(("node_classes", name), "its arch is missing: x86_64 or aarch64")
    for name, network in values["networks"].items():
        _check_network(document, name, network)
    for name, node in values["nodes"].items():
        _check_node(document, name, node, classes)
    _check_addresses(document)
    _check_roles(document)
    _check_ports(document)
    _check_crew(document)
    _check_exposure(document, network_of(values))
    _check_models(document)
    _check_tls(document, network_of(values))
    _check_monitoring(document)


def _check_network(document: Document, name: str, network: Values) -> None:
    if network.get("cidr"):
        try:
            ipaddress.ip_network(network["cidr"])
        except ValueError as error:
            raise document.wrong(("networks", name, "cidr"), str(error)) from error
    for node in network.get("between", ()):
        _known(document, ("networks", name, "between"), node)


def _check_node(document: Document, name: str, node: Values, classes: Mapping[str, Values]) -> None:
    if node["class"] not in classes:
        raise document.wrong(("nodes", name, "class"), f"no node class is called {node['class']}")
    for network, address in node["addr"].items():
        place = ("nodes", name, "addr", network)
        if network not in document.values["networks"]:  # type: ignore[operator]  # the schema has seen it
            raise document.wrong(place, f"no network is called {network}")
        cidr = document.values["networks"][network].get("cidr")  # type: ignore[index]
        if ":" in address and not is_ip(address):
            raise document.wrong(place, f"{address} is no address; ports belong to services")
        if is_ip(address) and cidr and ipaddress.ip_address(address) not in ipaddress.ip_network(cidr):
            raise document.wrong(place, f"{address} does not lie in {network}, which is {cidr}")


def _check_addresses(document: Document) -> None:
    """Two nodes cannot have the same one; on the loopback network, ports tell them apart."""
    seen: dict[tuple[str, str], str] = {}
    nodes: Values = document.values["nodes"]  # type: ignore[assignment]
    for name, node in nodes.items():
        for network, address in node["addr"].items():
            other = seen.setdefault((network, address), name)
            if other != name:
                raise document.wrong(("nodes", name, "addr", network), f"{address} is that of {other} too")


def _check_roles(document: Document) -> None:
    values: Values = document.values
    network = network_of(values)
    if network not in values["networks"]:
        raise document.wrong(("services", "network"), f"no network is called {network}")
    for role in values["roles"]:
        for number, node in enumerate(_members(values, role)):
            place: Place = ("roles", role, number) if role in MANY else ("roles", role)
            _known(document, place, node)
            if network not in values["nodes"][node]["addr"]:
                raise document.wrong(("nodes", node, "addr"), f"its address in {network} is missing, and it is to be {role}")


def _check_ports(document: Document) -> None:
    """Of services that share a node."""
    values: Values = document.values
    taken: dict[tuple[str, int], str] = {}
    for role, service, key, default in PORTS:
        port = values.get("services", {}).get(service, {}).get(key, default)
        for node in _members(values, role):
            other = taken.setdefault((node, port), f"{service}.{key}")
            if other != f"{service}.{key}":
                raise document.wrong(("services", service, key), f"port {port} on {node} is that of {other} too")


def _check_crew(document: Document) -> None:
    """distributed-llama cuts a model into 2^n equal parts, one of them the root's."""
    values: Values = document.values
    root, workers = _members(values, "dllama_root"), _members(values, "dllama_worker")
    parts = len(root) + len(workers)
    if root and parts & (parts - 1):
        raise document.wrong(("roles", "dllama_worker"), f"a root and {len(workers)} workers are {parts}: it must be 2, 4, 8 or 16 in all")
    if set(root) & set(workers):
        raise document.wrong(("roles", "dllama_root"), f"{root[0]} cannot be the root and a worker: both would want all its cores")


def _check_exposure(document: Document, network: str) -> None:
    """The workers' protocols have no key: whoever reaches one owns it."""
    values: Values = document.values
    for role in KEYLESS:
        for node in _members(values, role):
            address = values["nodes"][node]["addr"][network]
            place = ("nodes", node, "addr", network)
            if is_ip(address) and (ipaddress.ip_address(address).is_global or ipaddress.ip_address(address).is_unspecified):
                raise document.wrong(place, f"{address} is open to everybody, and {role} has no key")


def _check_models(document: Document) -> None:
    models: Values = document.values.get("services", {}).get("models", {})  # type: ignore[attr-defined]
    place = ("services", "models")
    if "export" in models and models.get("kind") != "nfs":
        raise document.wrong((*place, "export"), "only a directory of kind nfs is mounted")
    names = [each["name"] for each in models.get("files", ())]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise document.wrong((*place, "files", number, "name"), f"{name} is there twice")


def _check_tls(document: Document, network: str) -> None:
    """A front listens where the server would, so the server has to move to loopback: to the same port there."""
    values: Values = document.values
    services: Values = values.get("services", {})
    tls: Values = services.get("tls", {})
    if tls and not tls.get("front") and _members(values, "dllama_root"):
        raise document.wrong(("services", "tls"), "dllama-api speaks no TLS: front names a stunnel that does")
    if tls and "tls_certificate" in services.get("llama_head", {}):
        raise document.wrong(("services", "llama_head", "tls_certificate"), "services.tls says it for the head too: one of them")
    for role in ("llama_head", "dllama_root") if tls.get("front") else ():
        for node in _members(values, role):
            address = services.get(role, {}).get("host") or values["nodes"][node]["addr"][network]
            if address in ("127.0.0.1", "localhost", "::1"):
                raise document.wrong(
                    ("services", "tls", "front"), f"{node} serves on {address} alone, where its server is: nobody would see the front"
                )


def _check_monitoring(document: Document) -> None:
    told: Values = document.values.get("services", {}).get("monitoring", {})  # type: ignore[attr-defined]
    for whom, is_told in told.items():
        if is_told and not _members(document.values, "monitoring"):
            raise document.wrong(("services", "monitoring", whom), "no node has the role monitoring, so nobody would tell it")


def network_of(values: Values) -> str:
    return str(values.get("services", {}).get("network", next(iter(values["networks"]))))


def _members(values: Values, role: str) -> tuple[str, ...]:
    named = values["roles"].get(role, ())
    return (named,) if isinstance(named, str) else tuple(named)


def _known(document: Document, place: Place, node: str) -> None:
    if node not in document.values["nodes"]:  # type: ignore[operator]
        raise document.wrong(place, f"no node is called {node}")
