"""A profile as Ansible's inventory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synaptic.deploy.profile import Node, Profile
from synaptic.results import Json

GROUPS = ("llama_rpc", "llama_head", "dllama_worker", "dllama_root", "vllm_head", "vllm_worker", "monitoring")


def inventory(profile: Profile) -> dict[str, Json]:
    """As a file: every node once, with its variables, and the groups it is in."""
    groups: dict[str, Json] = {group: _hosts(profile.having(group)) for group in GROUPS if profile.having(group)}
    control: dict[str, Json] = (
        {"llama_control": {"hosts": {profile.control: _variables(profile, None, profile.control)}}} if profile.control else {}
    )
    nodes: dict[str, Json] = {"hosts": {name: _variables(profile, node, name) for name, node in profile.nodes.items()}}
    return {"all": {"children": {"llama_nodes": nodes, **groups, **control}}}


def listed(profile: Profile) -> dict[str, Json]:
    """As a program answers `--list`."""
    hosts: dict[str, Json] = {name: _variables(profile, node, name) for name, node in profile.nodes.items()}
    groups: dict[str, Json] = {group: {"hosts": list(profile.roles.get(group, ()))} for group in GROUPS if profile.having(group)}
    control: Mapping[str, Json] = {"llama_control": {"hosts": [profile.control]}} if profile.control else {}
    if profile.control and profile.control not in hosts:
        hosts[profile.control] = _variables(profile, None, profile.control)
    return {"_meta": {"hostvars": hosts}, "llama_nodes": {"hosts": list(profile.nodes)}, **groups, **control}


def _hosts(nodes: Sequence[Node]) -> Json:
    return {"hosts": {node.name: {} for node in nodes}}


def _variables(profile: Profile, node: Node | None, name: str) -> dict[str, Json]:
    user: dict[str, Json] = {"ansible_user": profile.control_user} if profile.control_user else {}
    if node is None:
        return user
    address = node.addresses.get(profile.services.network, next(iter(node.addresses.values())))
    where: dict[str, Json] = {} if address == name else {"ansible_host": address}
    return {**where, **user, "llama_node_arch": node.kind.arch, "llama_node_user": profile.services.user}
