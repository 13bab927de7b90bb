"""What runs where: every service of a profile."""

from __future__ import annotations

from synaptic.deploy.profile.profile import Profile
from synaptic.deploy.services.dllama import dllama_services
from synaptic.deploy.services.llama_cpp import head_services, rpc_services
from synaptic.deploy.services.service import Service
from synaptic.deploy.services.vllm import vllm_services
from synaptic.errors import UsageError
from synaptic.planning.placement import Placement


def services_of(profile: Profile, placed: Placement | None = None) -> list[Service]:
    """`placed`: a plan over the profile's machines; without one, no service has limits. Raises UsageError: nothing to serve."""
    found = [*rpc_services(profile, placed), *head_services(profile, placed), *dllama_services(profile), *vllm_services(profile)]
    if not found:
        raise UsageError(f"{profile.label} gives no node anything to serve", hint="name nodes below roles")
    return found
