"""Every file of one node: units, limits of the journal, firewall, what Consul and zeroconf are told, and the scripts."""

from __future__ import annotations

from collections.abc import Sequence

from synaptic.deploy.files import escape
from synaptic.deploy.files.builds import RECORDS, Placed, records
from synaptic.deploy.files.file import File
from synaptic.deploy.files.firewall import firewall
from synaptic.deploy.files.models_dir import listed, mount
from synaptic.deploy.files.registration import ZEROCONF, body, consul, zeroconf
from synaptic.deploy.files.tls import tls_files
from synaptic.deploy.files.unit import NEWEST, fill, gated, hardening, template, unit
from synaptic.deploy.profile.profile import Node, Profile
from synaptic.deploy.services.service import Service
from synaptic.shipped import shipped

SCRIPTS = (
    "llama-service-status",
    "llama-cluster-monitor",
    "llama-node-agent",
    "llama-head-notify",
    "llama-resolve",
    "llama-verify-unit",
    "vllm-rank",
)


def node_files(profile: Profile, node: Node, services: Sequence[Service], given: Sequence[Placed] = ()) -> dict[str, File]:
    """By their path on the node, without the first slash. `services`: those of this node; `given`: programs that it is brought."""
    files = {f"etc/systemd/system/{service.name}.service": File(unit(profile, service)) for service in services}
    standing = [service for service in services if service.ports]
    label = escape.comment(profile.label)
    files["etc/systemd/journald.conf.d/llama.conf"] = File(fill(shipped("deploy", "journald.conf").read_text(), {"label": label}))
    files["etc/nftables.d/llama.nft"] = File(firewall(profile, services))
    known = [service for service in standing if not service.is_front]
    files["etc/consul.d/llama.json"] = File(consul(profile, known))
    for service in standing:
        if service.name in ZEROCONF:
            files[f"etc/systemd/dnssd/{service.name}.dnssd"] = File(zeroconf(profile, service))
    files["etc/llama-cluster/services"] = File("".join(f"{service.name} {service.port}\n" for service in standing))
    files["etc/llama-cluster/nodes"] = File("".join(f"{each.name} {next(iter(each.addresses.values()))}\n" for each in _watched(profile)))
    files |= {path: File(text, 0o755 if "/bin/" in path else 0o644) for path, text in tls_files(profile, services).items()}
    files |= {RECORDS: File(records(given))} if given else {}
    files |= _models(profile, services) | _agent(profile, node, known)
    return files | {f"usr/local/bin/{name}": File(shipped("deploy", "bin", name).read_text(), 0o755) for name in SCRIPTS}


def _models(profile: Profile, services: Sequence[Service]) -> dict[str, File]:
    """Where one of them is read."""
    if not any(service.model for service in services):
        return {}
    unit = mount(profile)
    files = {f"etc/systemd/system/{unit[0]}": File(unit[1])} if unit else {}
    if profile.services.models_files:
        files["etc/llama-cluster/models"] = File(listed(profile))
        files["usr/local/bin/llama-verify-models"] = File(shipped("deploy", "bin", "llama-verify-models").read_text(), 0o755)
    return files


def _agent(profile: Profile, node: Node, services: Sequence[Service]) -> dict[str, File]:
    if node not in profile.having("monitoring"):
        return {}
    bodies = {f"etc/llama-cluster/consul/{service.name}.json": File(body(profile, service)) for service in services}
    values = {
        "label": escape.comment(profile.label),
        "node": escape.comment(node.name),
        "user": escape.line(profile.services.user),
        "hardening": hardening(profile, (), (), asks_kernel=True),
    }
    names = ("llama-node-agent.service", "llama-node-agent.timer")
    systemd = node.kind.systemd or NEWEST
    return bodies | {f"etc/systemd/system/{name}": File(gated(fill(template(name), values), systemd)) for name in names}


def _watched(profile: Profile) -> list[Node]:
    return list(profile.having("monitoring")) or list(profile.nodes.values())
