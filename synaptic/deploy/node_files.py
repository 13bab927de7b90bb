"""Every file of one node: units, limits of the journal, firewall, what Consul and zeroconf are told, and the scripts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from synaptic.deploy import escape
from synaptic.deploy.profile import Node, Profile
from synaptic.deploy.service import Service
from synaptic.deploy.unit import NEWEST, fill, gated, hardening, template, unit
from synaptic.shipped import shipped

SCRIPTS = ("llama-service-status", "llama-cluster-monitor", "llama-node-agent", "llama-head-notify", "llama-resolve", "llama-verify-unit")
ZEROCONF = {
    "llama-rpc": "_llama-rpc._tcp",
    "llama-head": "_llama-head._tcp",
    "dllama-worker": "_dllama._tcp",
    "vllm-node": "_vllm-node._tcp",
}
TTL, FORGOTTEN = "30s", "72h"  # three missed beats of the agent; then Consul forgets a service that never came back


@dataclasses.dataclass(frozen=True)
class File:
    text: str
    mode: int = 0o644


def node_files(profile: Profile, node: Node, services: Sequence[Service]) -> dict[str, File]:
    """By their path on the node, without the first slash. `services`: those of this node."""
    files = {f"etc/systemd/system/{service.name}.service": File(unit(profile, service)) for service in services}
    standing = [service for service in services if service.ports]
    label = escape.comment(profile.label)
    files["etc/systemd/journald.conf.d/llama.conf"] = File(fill(shipped("deploy", "journald.conf").read_text(), {"label": label}))
    files["etc/nftables.d/llama.nft"] = File(firewall(profile, standing))
    files["etc/consul.d/llama.json"] = File(consul(profile, standing))
    for service in standing:
        if service.name in ZEROCONF:
            files[f"etc/systemd/dnssd/{service.name}.dnssd"] = File(zeroconf(profile, service))
    files["etc/llama-cluster/services"] = File("".join(f"{service.name} {service.port}\n" for service in standing))
    files["etc/llama-cluster/nodes"] = File("".join(f"{each.name} {next(iter(each.addresses.values()))}\n" for each in _watched(profile)))
    files |= _agent(profile, node)
    return files | {f"usr/local/bin/{name}": File(shipped("deploy", "bin", name).read_text(), 0o755) for name in SCRIPTS}


def firewall(profile: Profile, services: Sequence[Service]) -> str:
    """For nft -f: the ports of services without a key are open to the cluster alone."""
    ports = sorted({port for service in services if service.is_keyless or service.role.startswith("vllm") for port in service.ports})
    members = [profile.address(node) for node in profile.nodes.values() if profile.services.network in node.addresses]
    cluster = profile.network.cidr or f"{{ {', '.join(members)} }}"
    family = "ip6" if ":" in cluster else "ip"
    rule = f"        tcp dport {{ {', '.join(map(str, ports))} }} {family} saddr != {cluster} drop\n" if ports else ""
    return (
        f'# {escape.comment(profile.label)}: workers have no key. In /etc/nftables.conf: include "/etc/nftables.d/*.nft"\n'
        "table inet llama\n"
        "delete table inet llama\n"
        "table inet llama {\n"
        "    chain input {\n"
        "        type filter hook input priority -10; policy accept;\n"
        '        iifname "lo" accept\n'
        f"{rule}"
        "    }\n"
        "}\n"
    )


def consul(profile: Profile, services: Sequence[Service]) -> str:
    """For /etc/consul.d. A TTL that the node's agent feeds, never a TCP check: one connection ends a dllama worker."""
    return json.dumps({"services": [_registered(profile, service) for service in services]}, indent=2) + "\n"


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
        scheme = "https" if "certificate" in service.credentials else "http"
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


def _told(profile: Profile, service: Service, known: Mapping[str, str], backend: str) -> dict[str, str]:
    """What the profile knows; nothing is made up."""
    devices = service.node.kind.accelerators
    backends = {"cuda": "CUDA", "rocm": "ROCm", "sycl": "SYCL", "vulkan": "Vulkan"}
    own = {backend: backends[devices[0].backend[0]]} if devices and len(devices[0].backend) == 1 else {} if devices else {backend: "CPU"}
    return {**known, **own, "arch": service.node.kind.arch}


def _agent(profile: Profile, node: Node) -> dict[str, File]:
    if node not in profile.having("monitoring"):
        return {}
    values = {
        "label": escape.comment(profile.label),
        "node": escape.comment(node.name),
        "hardening": hardening(profile, (), (), asks_kernel=True),
    }
    names = ("llama-node-agent.service", "llama-node-agent.timer")
    systemd = node.kind.systemd or NEWEST
    return {f"etc/systemd/system/{name}": File(gated(fill(template(name), values), systemd)) for name in names}


def _watched(profile: Profile) -> list[Node]:
    return list(profile.having("monitoring")) or list(profile.nodes.values())
