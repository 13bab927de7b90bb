"""Whether the servers of a profile answer from here, in the ways that harm none of them: a head is asked for its health, once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.deploy.files.rendered import Finding
from synaptic.deploy.profile.profile import Profile
from synaptic.deploy.services.service import Service
from synaptic.endpoint import Endpoint

WITHIN = 5.0  # seconds
HEALTHY = ("llama-head", "vllm-node")  # those that have a /health; dllama-api has none, and serves one at a time
READY = (State.IDLE, State.IN_USE, State.BUSY)


def workers(profile: Profile, services: Sequence[Service]) -> dict[Endpoint, str]:
    """llama.cpp's, which a handshake does not harm; distributed-llama's are not among them, for it would."""
    return {Endpoint(profile.address(each.node), each.port): each.node.name for each in services if each.name == "llama-rpc"}


def of_workers(nodes: dict[Endpoint, str], answers: Sequence[Backend]) -> list[Finding]:
    """One that does not answer, and workers that speak different versions: a head takes no two."""
    found = [Finding(f"{nodes[each.endpoint]}:llama-rpc", each.detail or each.state.value) for each in answers if each.state not in READY]
    versions: dict[str, list[str]] = {}
    for each in answers:
        if each.kind is Kind.RPC and each.version:
            versions.setdefault(each.version, []).append(nodes[each.endpoint])
    if len(versions) > 1:
        told = "; ".join(f"{version} on {', '.join(names)}" for version, names in sorted(versions.items()))
        found.append(Finding("llama-rpc", f"not the same version everywhere: {told}"))
    return found


async def of_heads(profile: Profile, services: Sequence[Service]) -> list[Finding]:
    asked = [each for each in services if each.name in HEALTHY and each.ports and each.role != "vllm_worker"]
    said = await asyncio.gather(*(_health(_url(profile, each)) for each in asked))
    return [Finding(f"{each.node.name}:{each.name}", why) for each, why in zip(asked, said, strict=True) if why]


def _url(profile: Profile, service: Service) -> str:
    host = profile.services.head.host if service.name == "llama-head" else None
    scheme = "https" if service.name == "llama-head" and (profile.services.tls or "certificate" in service.credentials) else "http"
    return f"{scheme}://{Endpoint(host or profile.address(service.node), service.port)}/health"


async def _health(url: str) -> str | None:
    """None: well. A certificate is not looked at here: who uses the head knows for which name it is."""
    import aiohttp

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(WITHIN), trust_env=False) as http,
            http.get(url, ssl=False, allow_redirects=False) as answer,
        ):
            await answer.content.read(4096)
            return None if answer.status == 200 else f"{url} answers {answer.status}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return f"{url} does not answer: {str(error) or 'it takes too long'}"
