"""Who may reach a node's services: those without a key are for the cluster alone."""

from __future__ import annotations

from collections.abc import Sequence

from synaptic.deploy.files import escape
from synaptic.deploy.profile.profile import Profile
from synaptic.deploy.services.service import Service


def firewall(profile: Profile, services: Sequence[Service]) -> str:
    """For nft -f: the ports of services without a key are open to the cluster alone."""
    ports = sorted({port for service in services for port in _closed(service)})
    members = [profile.address(node) for node in profile.nodes.values() if profile.services.network in node.addresses]
    cluster = profile.network.cidr or f"{{ {', '.join(members)} }}"
    family = "ip6" if ":" in cluster else "ip"
    rule = f"        tcp dport {{ {', '.join(map(str, ports))} }} {family} saddr != {cluster} drop\n" if ports else ""
    crew = sorted({ports for service in services for ports in service.crew_ports})
    rule += f"        ct state new tcp dport {{ {', '.join(crew)} }} {family} saddr != {cluster} drop\n" if crew else ""
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


def _closed(service: Service) -> tuple[int, ...]:
    return service.ports if service.is_keyless or (service.role.startswith("vllm") and not service.has_key) else ()
