"""What the ansible target adds to the nodes' files: an inventory, a playbook, and a role for each service."""

from __future__ import annotations

from collections.abc import Sequence

from synaptic.deploy import escape
from synaptic.deploy.inventory import inventory
from synaptic.deploy.node_files import File
from synaptic.deploy.profile import Profile
from synaptic.deploy.service import Service
from synaptic.deploy.unit import fill
from synaptic.shipped import shipped

ABOUT = {
    "llama_rpc": "A worker of llama.cpp",
    "llama_head": "The head of llama.cpp",
    "dllama_worker": "A worker of distributed-llama",
    "dllama_root": "The API of distributed-llama",
    "vllm_node": "A node of vLLM",
}
ORDER = ("llama_rpc", "dllama_worker", "vllm_node", "llama_head", "dllama_root")  # workers first
UNITS = {role: role.replace("_", "-") for role in ABOUT} | {"dllama_root": "dllama-api"}
HOSTS = {"vllm_node": "vllm_head:vllm_worker"}


def playbook_files(profile: Profile, services: Sequence[Service]) -> dict[str, File]:
    import yaml

    roles = [role for role in ORDER if any(service.name == UNITS[role] for service in services)]
    files = {f"roles/{role}/{path}": file for role in roles for path, file in _role(profile, role, services).items()}
    base = shipped("deploy", "ansible", "roles")
    for path in sorted(base.rglob("*.yml")):
        files[f"roles/{path.relative_to(base).as_posix()}"] = File(path.read_text(encoding="utf-8"))
    mark = f"# {escape.comment(profile.label)}\n---\n"
    files["inventory.yml"] = File(mark + yaml.safe_dump(inventory(profile), sort_keys=False, allow_unicode=True))
    files["site.yml"] = File(mark + _site(profile, roles))
    return files


def _role(profile: Profile, role: str, services: Sequence[Service]) -> dict[str, File]:
    folder = shipped("deploy", "ansible", "service")
    own = [service for service in services if service.name == UNITS[role]]
    asked = profile.services
    programs = {
        "llama_rpc": asked.rpc.program,
        "llama_head": asked.head.program,
        "dllama_worker": asked.dllama_worker.program,
        "dllama_root": asked.dllama_root.program,
        "vllm_node": asked.vllm.program,
    }
    units = [UNITS[role], *(["dllama-root"] if role == "dllama_root" else [])]
    restart = shipped("deploy", "ansible", "restart_after.yml").read_text(encoding="utf-8").rstrip("\n")
    values = {
        "role": role,
        "unit": UNITS[role],
        "units": f"[{', '.join(units)}]",
        "about": ABOUT[role],
        "program": programs[role].replace("\\", "\\\\").replace('"', '\\"'),
        "port": "0" if role == "vllm_node" else str(own[0].port),  # only one of its nodes listens
        "restart_after": restart if role == "llama_head" else "",
    }
    found = sorted(folder.rglob("*.yml"))
    return {path.relative_to(folder).as_posix(): File(fill(path.read_text(encoding="utf-8"), values)) for path in found}


def _site(profile: Profile, roles: Sequence[str]) -> str:
    """Workers before heads; what fails on one node stops all of it."""
    plays = [_play("What every node has", "llama_nodes", "llama_node")]
    plays += [_play(ABOUT[role], HOSTS.get(role, role), role) for role in roles]
    if profile.having("monitoring"):
        plays.append(_play("What Consul and the link are told", "monitoring", "monitoring"))
    return "\n".join(plays)


def _play(name: str, hosts: str, role: str) -> str:
    facts = "true" if role == "llama_node" else "false"
    return (
        f"- name: {name}\n"
        f"  hosts: {hosts}\n"
        '  become: "{{ cluster_become | default(true) }}"\n'
        "  any_errors_fatal: true\n"
        f"  gather_facts: {facts}\n"
        "  roles:\n"
        f"    - role: {role}\n"
    )
