"""distributed-llama's services of a profile: its workers, and on the root the API and one answer from the command line."""

from __future__ import annotations

from synaptic.deploy.profile.profile import Profile
from synaptic.deploy.services.service import Service, at, cores, resolved
from synaptic.errors import UsageError


def dllama_services(profile: Profile) -> list[Service]:
    asked, root = profile.services.dllama_worker, profile.services.dllama_root
    found = [
        Service(
            "dllama-worker",
            "dllama_worker",
            node,
            resolved(
                (
                    asked.program,
                    "worker",
                    "--host",
                    at(profile, node),
                    "--port",
                    str(asked.port),
                    "--nthreads",
                    cores(node, asked.threads),
                )
            ),
            (asked.port,),
            is_keyless=True,
        )
        for node in profile.having("dllama_worker")
    ]
    for node in profile.having("dllama_root"):
        if not root.model or not root.tokenizer:
            raise UsageError(
                f"{profile.label} does not say which model {node.name} serves", hint="services.dllama_root: model and tokenizer"
            )
        words = ["--model", root.model, "--tokenizer", root.tokenizer, "--buffer-float-type", root.buffer]
        words += ["--nthreads", cores(node, root.threads)]
        crew = [f"{at(profile, each)}:{asked.port}" for each in profile.having("dllama_worker")]
        workers = ["--workers", *crew] if crew else []  # words of their own: it takes no commas
        serve = [root.program, "--host", root.host or at(profile, node), "--port", str(root.port), *words, *workers]
        once = [asked.program, "inference", "--prompt", "Hello", "--steps", "32", *words, *workers]
        found.append(Service("dllama-api", "dllama_root", node, resolved(tuple(serve)), (root.port,), model=root.model))
        found.append(Service("dllama-root", "dllama_root", node, resolved(tuple(once)), model=root.model))
    return found
