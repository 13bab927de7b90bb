"""What the ansible target adds to the nodes' files: an inventory, a playbook, and a role for each service."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from synaptic.deploy.files import escape
from synaptic.deploy.files.builds import Placed, program_of
from synaptic.deploy.files.file import File
from synaptic.deploy.files.inventory import inventory, programs_of
from synaptic.deploy.files.unit import fill
from synaptic.deploy.profile.profile import Install, Profile
from synaptic.deploy.services.service import Service
from synaptic.shipped import shipped

ABOUT = {
    "llama_rpc": "A worker of llama.cpp",
    "llama_head": "The head of llama.cpp",
    "dllama_worker": "A worker of distributed-llama",
    "dllama_root": "The API of distributed-llama",
    "ray_node": "Ray under vLLM",
    "vllm_node": "A node of vLLM",
}
ORDER = ("llama_rpc", "dllama_worker", "ray_node", "vllm_node", "llama_head", "dllama_root")  # workers first
UNITS = {role: role.replace("_", "-") for role in ABOUT} | {"dllama_root": "dllama-api"}
READERS = ("vllm_node", "llama_head", "dllama_root")  # of models
PLAYS = {"models": "The models", "tls": "Certificates"}
ROOT = ("dllama_root", "dllama-root")  # one answer over all workers: the same role, another program
HOSTS = {"ray_node": "vllm_head:vllm_worker", "vllm_node": "vllm_head:vllm_worker"}


def playbook_files(profile: Profile, services: Sequence[Service], given: Mapping[str, Sequence[Placed]]) -> dict[str, File]:
    """`given`: by node, the programs that it is brought."""
    import yaml

    roles = [role for role in ORDER if any(service.name == UNITS[role] for service in services)]
    files = {f"roles/{role}/{path}": file for role in roles for path, file in _role(profile, role, services).items()}
    base = shipped("deploy", "ansible", "roles")
    for role in ("llama_node", "monitoring", *_asked_for(profile)):
        for path in sorted((base / role).rglob("*.yml")):
            files[f"roles/{path.relative_to(base).as_posix()}"] = File(path.read_text(encoding="utf-8"))
    mark = f"# {escape.comment(profile.label)}\n---\n"
    files["inventory.yml"] = File(mark + yaml.safe_dump(inventory(profile, programs_of(given)), sort_keys=False, allow_unicode=True))
    files["site.yml"] = File(mark + _site(profile, roles))
    return files


def _role(profile: Profile, role: str, services: Sequence[Service]) -> dict[str, File]:
    folder = shipped("deploy", "ansible", "service")
    own = [service for service in services if service.name == UNITS[role]]
    fronts = sorted({service.name for service in services if service.is_front and service.role == role})
    programs = dict.fromkeys(program_of(service) for service in services if service in own or (role, service.name) == ROOT)
    units = [UNITS[role], *fronts, *(["dllama-root"] if role == "dllama_root" else [])]
    restart = shipped("deploy", "ansible", "restart_after.yml").read_text(encoding="utf-8").rstrip("\n")
    together = fill(shipped("deploy", "ansible", "restart_together.yml").read_text(encoding="utf-8"), {"role": role, "unit": UNITS[role]})
    made, made_here = _made_here(profile, role, list(programs))
    values = {
        "made": json.dumps(made),
        "made_here": made_here,
        "role": role,
        "unit": UNITS[role],
        "units": f"[{', '.join(units)}]",
        "started": f"[{', '.join([UNITS[role], *fronts])}]",
        "front": fronts[0] if fronts else "no-front",
        "about": ABOUT[role],
        "programs": json.dumps(list(programs)),
        "port": "0" if role in HOSTS else str(own[0].port),  # only one of its nodes listens
        "restart_after": restart if role == "llama_head" else "",
        "restart_together": together if role in HOSTS else "",
    }
    found = sorted(folder.rglob("*.yml"))
    return {path.relative_to(folder).as_posix(): File(fill(path.read_text(encoding="utf-8"), values)) for path in found}


def _made_here(profile: Profile, role: str, programs: list[str]) -> tuple[list[str], str]:
    """The programs that are compiled or installed on the machine itself, and the tasks for that."""
    source, install = profile.services.dllama_source, profile.services.vllm.install
    if role.startswith("dllama") and source:
        folder = str(PurePosixPath(source.dir) / source.version)
        values = {"repository": source.repository, "version": source.version, "folder": folder}
    elif role in HOSTS and install:
        folder = str(PurePosixPath(profile.services.vllm.program).parents[1])
        values = {"python": install.python, "folder": folder, "pip": _pip(install, folder)}
    else:
        return [], ""
    text = shipped("deploy", "ansible", "build_dllama.yml" if source and "version" in values else "install_vllm.yml")
    return programs, fill(text.read_text(encoding="utf-8"), {**values, "role": role, "unit": UNITS[role]}).rstrip("\n")


def _pip(install: Install, folder: str) -> str:
    """Word by word, as YAML. The first index is asked instead of PyPI, the others besides."""
    indexes = [word for at, url in enumerate(install.indexes) for word in ("--extra-index-url" if at else "--index-url", url)]
    words = [f"{folder}/bin/pip", "install", "--disable-pip-version-check", *indexes, *install.packages]
    return "\n".join(f"      - {json.dumps(word)}" for word in words)


def _site(profile: Profile, roles: Sequence[str]) -> str:
    """Workers before heads; what fails on one node stops all of it."""
    plays = [_play("What every node has", "llama_nodes", "llama_node")]
    readers = ":".join(HOSTS.get(role, role) for role in roles if role in READERS)
    plays += [_play(PLAYS[role], readers, role) for role in _asked_for(profile) if readers]
    plays += [_play(ABOUT[role], _hosts(profile, role), role) for role in roles]
    if profile.having("monitoring"):
        plays.append(_play("What Consul and the link are told", "monitoring", "monitoring"))
    return "\n".join(plays)


def _hosts(profile: Profile, role: str) -> str:
    """With Ray only one node starts vLLM itself."""
    return "vllm_head" if role == "vllm_node" and profile.services.vllm.executor == "ray" else HOSTS.get(role, role)


def _asked_for(profile: Profile) -> list[str]:
    """Roles that only some profiles need."""
    own = profile.services
    return [*(["models"] if own.models_files or own.models_export else []), *(["tls"] if own.tls else [])]


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
