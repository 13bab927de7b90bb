"""A profile as Ansible's inventory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synaptic.deploy.files.builds import Placed
from synaptic.deploy.profile.profile import Node, Profile
from synaptic.results import Json

GROUPS = ("llama_rpc", "llama_head", "dllama_worker", "dllama_root", "vllm_head", "vllm_worker", "monitoring")


def inventory(profile: Profile, programs: Mapping[str, Json] | None = None) -> dict[str, Json]:
    """As a file: every node once, with its variables, and the groups it is in. `programs`: by node, those that it is brought."""
    brought = programs or {}
    groups: dict[str, Json] = {group: _hosts(profile.having(group)) | _told(profile, group) for group in GROUPS if profile.having(group)}
    control: dict[str, Json] = (
        {"llama_control": {"hosts": {profile.control: _variables(profile, None, profile.control)}}} if profile.control else {}
    )
    hosts: dict[str, Json] = {}
    for name, node in profile.nodes.items():
        own: dict[str, Json] = {"cluster_programs": brought[name]} if brought.get(name) else {}
        hosts[name] = _variables(profile, node, name) | own
    nodes: dict[str, Json] = {"hosts": hosts}
    return {"all": {"children": {"llama_nodes": nodes, **groups, **control}}}


def programs_of(given: Mapping[str, Sequence[Placed]]) -> dict[str, Json]:
    return {node: [{"from": str(each.source), "path": each.path, "sha256": each.sha256} for each in own] for node, own in given.items()}


def listed(profile: Profile) -> dict[str, Json]:
    """As a program answers `--list`."""
    hosts: dict[str, Json] = {name: _variables(profile, node, name) for name, node in profile.nodes.items()}
    groups: dict[str, Json] = {
        group: {"hosts": list(profile.roles.get(group, ())), **_told(profile, group)} for group in GROUPS if profile.having(group)
    }
    control: Mapping[str, Json] = {"llama_control": {"hosts": [profile.control]}} if profile.control else {}
    if profile.control and profile.control not in hosts:
        hosts[profile.control] = _variables(profile, None, profile.control)
    return {"_meta": {"hostvars": hosts}, "llama_nodes": {"hosts": list(profile.nodes)}, **groups, **control}


def _hosts(nodes: Sequence[Node]) -> dict[str, Json]:
    return {"hosts": {node.name: {} for node in nodes}}


def _told(profile: Profile, group: str) -> dict[str, Json]:
    """Whom the role of this group tells; what the profile does not say, the role's own defaults do."""
    told: dict[str, Json] = {f"monitoring_{whom}": True for whom, is_told in vars(profile.services.monitoring).items() if is_told}
    return {"vars": told} if told and group == "monitoring" else {}


def _variables(profile: Profile, node: Node | None, name: str) -> dict[str, Json]:
    user: dict[str, Json] = {"ansible_user": profile.control_user} if profile.control_user else {}
    if node is None:
        return user
    address = profile.reached_at(node.name)
    where: dict[str, Json] = {} if address == name else {"ansible_host": address}
    tls = profile.services.tls
    own: dict[str, Json] = {"cluster_tls_certificate": tls.certificate, "cluster_tls_key": tls.key} if tls else {}
    server: dict[str, Json] = {"cluster_tls_server": profile.services.head.program} if tls and not tls.front else {}
    return {**where, **user, "llama_node_arch": node.kind.arch, "llama_node_user": profile.services.user, **own, **server}
