"""
A compose.yaml per node. Images are the user's choice: $LLAMA_IMAGE and the like; the profile's programs must be in
them. A head that is frozen stays so: compose has no watchdog that writes a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synaptic.deploy.files import escape
from synaptic.deploy.files.file import File
from synaptic.deploy.profile.profile import Profile
from synaptic.deploy.services.service import RESOLVE, Service
from synaptic.shipped import shipped

HELPERS = {RESOLVE: "llama-resolve"}


def compose_files(profile: Profile, services: Sequence[Service]) -> dict[str, File]:
    """`services`: those of one node."""
    import yaml

    document = {"name": profile.name, "services": {service.name: _service(profile, service) for service in services if service.stays}}
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)
    helpers = {f"bin/{name}": File(shipped("deploy", "bin", name).read_text(encoding="utf-8"), 0o755) for name in HELPERS.values()}
    return {"compose.yaml": File(f"# {escape.comment(profile.label)}\n{text}"), **helpers}


def _service(profile: Profile, service: Service) -> dict[str, Any]:
    """On the host's network: a container's would hide the address that workers are known by."""
    variable = f"{service.name.partition('-')[0].upper()}_IMAGE"
    found: dict[str, Any] = {
        "image": f"${{{variable}:?name the image with {service.name} in it}}",
        "entrypoint": [_literal(word) for word in service.bare],
        "network_mode": "host",
        "restart": "always",
        "init": True,
        "read_only": True,
        "tmpfs": ["/tmp", "/var/cache/llama-rpc"] if service.name == "llama-rpc" else ["/tmp"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "ulimits": {"memlock": -1, "nofile": 65535, "core": 0},
        "logging": {"driver": "journald", "options": {"tag": service.name}},
        "volumes": _volumes(profile, service),
    }
    environment = dict(service.environment) | ({"LLAMA_CACHE": "/var/cache/llama-rpc"} if service.name == "llama-rpc" else {})
    found["environment"] = {name: _literal(value) for name, value in environment.items()}
    if service.environment_file:
        found["env_file"] = [_literal(service.environment_file)]
    if service.role.startswith("vllm"):
        found["ipc"] = "host"  # its processes share memory
        found["environment"]["HOME"] = "/tmp"
    if service.memory:
        found["mem_limit"] = service.memory + service.memory // 8
    return found | _devices(service)


def _volumes(profile: Profile, service: Service) -> list[str]:
    helpers = [f"./bin/{name}:{path}:ro" for path, name in HELPERS.items() if service.bare[0] == path]
    models = [f"{_literal(profile.services.models_dir)}:{_literal(profile.services.models_dir)}:ro"] if service.model else []
    return [*helpers, *models, *(f"{_literal(path)}:{_literal(path)}:ro" for path in service.credentials.values())]


def _devices(service: Service) -> dict[str, Any]:
    vendors = {device.vendor for device in service.node.kind.accelerators}
    if "nvidia" in vendors:
        return {"deploy": {"resources": {"reservations": {"devices": [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]}}}}
    paths = ["/dev/dri", *(["/dev/kfd"] if "amd" in vendors else [])]
    return {"devices": paths, "group_add": ["video", "render"]} if vendors else {}


def _literal(text: str) -> str:
    """Compose reads $ as a variable."""
    return text.replace("$", "$$")
