"""A script per node for machines without systemd. It cannot start again what ends, and a logout may end all of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from synaptic.deploy.files import escape
from synaptic.deploy.files.file import File
from synaptic.deploy.profile.profile import Profile
from synaptic.deploy.services.service import RESOLVE, Service
from synaptic.shipped import shipped


def nohup_files(profile: Profile, services: Sequence[Service]) -> dict[str, File]:
    """`services`: those of one node."""
    head = f"#!/bin/sh\n# {escape.comment(profile.label)}\nset -eu\n"
    script = shipped("deploy", "nohup.sh").read_text(encoding="utf-8")
    starts = "\n".join(_start(service) for service in services if service.stays)
    stops = "\n".join(f"end {service.name}" for service in reversed(services) if service.stays)
    return {
        "start": File(f"{head}{script}\n{starts}\n", 0o755),
        "stop": File(f"{head}{script}\n{stops}\n", 0o755),
        "bin/llama-resolve": File(shipped("deploy", "bin", "llama-resolve").read_text(encoding="utf-8"), 0o755),
    }


def _start(service: Service) -> str:
    variables = [f"{name}={value}" for name, value in service.environment.items()]
    program = '"$here"/bin/llama-resolve' if service.bare[0] == RESOLVE else shlex.quote(service.bare[0])
    words = shlex.join(service.bare[1:])
    secret = (
        shlex.join(["sh", "-c", 'set -a; . "$1"; set +a; shift; exec "$@"', "sh", service.environment_file])
        if service.environment_file
        else ""
    )
    return " ".join(filter(None, ("begin", service.name, shlex.join(["env", *variables]), secret, program, words)))
