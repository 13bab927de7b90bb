"""llama.cpp's services of a profile: rpc-server on the workers, llama-server on the head."""

from __future__ import annotations

from synaptic.deploy.profile.profile import Head, Node, Profile
from synaptic.deploy.services.service import NOTIFY, Service, at, cores, resolved
from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.planning.placement import Placement
from synaptic.results import GIB

QUIET = {"LLAMA_ARG_LOG_VERBOSITY": "2"}  # errors and warnings: it writes seven lines for each token that proves its life


def rpc_services(profile: Profile, placed: Placement | None) -> list[Service]:
    asked = profile.services.rpc
    return [
        Service(
            "llama-rpc",
            "llama_rpc",
            node,
            resolved((asked.program, "--host", at(profile, node), "--port", str(asked.port), *_threads(node, asked.threads), "-c")),
            (asked.port,),
            asked.environment,
            memory=None if node.kind.accelerators else _memory(placed, Endpoint(profile.address(node), asked.port)),
            is_keyless=True,
        )
        for node in profile.having("llama_rpc")
    ]


def head_services(profile: Profile, placed: Placement | None) -> list[Service]:
    """The one head, or none. Raises UsageError: the profile does not name its model."""
    asked = profile.services.head
    if not profile.having("llama_head"):
        return []
    (node,) = profile.having("llama_head")
    if asked.model is None:
        raise UsageError(f"{profile.label} does not say which model {node.name} serves", hint="services.llama_head.model, a path on it")
    files = {"api-key": asked.api_key_file, "certificate": asked.tls_certificate, "key": asked.tls_key}
    load = placed.prediction.load_seconds[1] * 3 if placed and placed.fits else None
    return [
        Service(
            "llama-head",
            "llama_head",
            node,
            (*_watched(asked, asked.host or profile.address(node), load), "--", *_llama_server(profile, node, asked.model, placed)),
            (asked.port,),
            {**QUIET, **asked.environment},
            {name: path for name, path in files.items() if path},
            memory=None if node.kind.accelerators else _memory(placed, None),
            load_seconds=load,
            model=asked.model,
            beside=("llama-rpc.service",) if node in profile.having("llama_rpc") else (),
        )
    ]


def _watched(asked: Head, host: str, load: float | None) -> tuple[str, ...]:
    """Who starts it, and tells systemd when it answers."""
    url = f"{'https' if asked.tls_certificate else 'http'}://{Endpoint(host, asked.port)}"
    key = ("--api-key-file", asked.api_key_file) if asked.api_key_file else ()
    within = ("--load-within", f"{max(load, 60):.0f}") if load else ()
    return (NOTIFY, "--url", url, *key, *within)


def _llama_server(profile: Profile, node: Node, model: str, placed: Placement | None) -> list[str]:
    asked = profile.services.head
    workers = [Endpoint(profile.address(each), profile.services.rpc.port) for each in profile.having("llama_rpc")]
    split: list[str] = []
    if placed and placed.fits:
        workers = [share.endpoint for share in placed.shares if share.endpoint]
        split = ["--tensor-split", ",".join(f"{part:g}" for part in placed.tensor_split)] if placed.tensor_split else []
    words = [asked.program, "--host", asked.host or profile.address(node), "--port", str(asked.port), "--model", model]
    words += ["--gpu-layers", "999", "--parallel", str(asked.slots)]
    words += ["--ctx-size", str(asked.context * asked.slots)] if asked.context else []
    words += ["--rpc", ",".join(map(str, workers)), *split] if workers else split
    words += ["--metrics", "--slots", "--cache-ram", "0"]  # its own cache of prompts would fetch their state from the workers
    files = {"--api-key-file": asked.api_key_file, "--ssl-cert-file": asked.tls_certificate, "--ssl-key-file": asked.tls_key}
    return words + [word for option, path in files.items() if path for word in (option, path)]


def _threads(node: Node, asked: int | None) -> tuple[str, ...]:
    """An accelerator's worker needs none."""
    return () if node.kind.accelerators and not asked else ("--threads", cores(node, asked))


def _memory(placed: Placement | None, endpoint: Endpoint | None) -> int | None:
    """What the plan puts there, a tenth for what the allocator adds, and half a GiB for the program itself."""
    if placed is None or not placed.fits:
        return None
    share = next((share for share in placed.shares if share.endpoint == endpoint), None)
    return round(share.bytes * 1.1) + GIB // 2 if share else None
