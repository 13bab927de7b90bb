"""What Consul and zeroconf are told of a node's services."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from synaptic.deploy.files import escape
from synaptic.deploy.profile.profile import Profile
from synaptic.deploy.services.service import Service

ZEROCONF = {
    "llama-rpc": "_llama-rpc._tcp",
    "llama-head": "_llama-head._tcp",
    "dllama-worker": "_dllama._tcp",
    "vllm-node": "_vllm-node._tcp",
}
_API = {"id": "ID", "ttl": "TTL", "http": "HTTP", "tls_skip_verify": "TLSSkipVerify"}
TTL, FORGOTTEN = "30s", "72h"  # three missed beats of the agent; then Consul forgets a service that never came back


def consul(profile: Profile, services: Sequence[Service]) -> str:
    """For /etc/consul.d. A TTL that the node's agent feeds, never a TCP check: one connection ends a dllama worker."""
    return json.dumps({"services": [_registered(profile, service) for service in services]}, indent=2) + "\n"


def body(profile: Profile, service: Service) -> str:
    """What Consul's HTTP interface takes for a service: the same as in a file, with other names for the same things."""
    return json.dumps(_renamed(_registered(profile, service)), indent=2) + "\n"


def zeroconf(profile: Profile, service: Service) -> str:
    """For systemd-resolved, which then tells the link (systemd.dnssd)."""
    text = _told(profile, service, {"txtvers": "1", "cl": profile.name, "role": "worker" if service.is_keyless else "head"}, "be")
    words = " ".join(escape.assignment(*each) for each in text.items())
    lines = ["[Service]", f"Name=%H {service.name}", f"Type={ZEROCONF[service.name]}", f"Port={service.port}", f"TxtText={words}"]
    return "\n".join(lines) + "\n"


def _registered(profile: Profile, service: Service) -> dict[str, object]:
    name = service.name
    alive = {"id": f"{name}-alive", "name": f"{name} as its node sees it", "ttl": TTL, "deregister_critical_service_after": FORGOTTEN}
    checks: list[dict[str, object]] = [dict(alive)]
    if service.role == "llama_head":
        scheme = "https" if "certificate" in service.credentials or profile.services.tls else "http"
        url = f"{scheme}://{profile.services.head.host or profile.address(service.node)}:{service.port}/health"
        checks.append({"id": f"{name}-health", "http": url, "interval": "15s", "timeout": "5s", "tls_skip_verify": True})
    meta = _told(profile, service, {"cluster": profile.name, "profile": profile.label}, "backend")
    return {
        "id": name,
        "name": name,
        "address": profile.address(service.node),
        "port": service.port,
        "tags": [profile.name],
        "meta": meta,
        "checks": checks,
    }


def _renamed(values: Mapping[str, object]) -> dict[str, object]:
    """deregister_critical_service_after → DeregisterCriticalServiceAfter; what is below `meta` keeps its names."""
    found: dict[str, object] = {}
    for key, value in values.items():
        name = _API.get(key) or "".join(word.capitalize() for word in key.split("_"))
        items = value if isinstance(value, list) else None
        found[name] = [_check(each) if isinstance(each, dict) else each for each in items] if items is not None else value
    return found


def _check(values: Mapping[str, object]) -> dict[str, object]:
    """A check's `id` is called otherwise than a service's."""
    own = _renamed(values)
    return {"CheckID": own.pop("ID"), **own}


def _told(profile: Profile, service: Service, known: Mapping[str, str], backend: str) -> dict[str, str]:
    """What the profile knows; nothing is made up."""
    devices = service.node.kind.accelerators
    backends = {"cuda": "CUDA", "rocm": "ROCm", "sycl": "SYCL", "vulkan": "Vulkan"}
    own = {backend: backends[devices[0].backend[0]]} if devices and len(devices[0].backend) == 1 else {} if devices else {backend: "CPU"}
    return {**known, **own, "arch": service.node.kind.arch}
