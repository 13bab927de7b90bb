"""The verbs, one file per noun."""

from __future__ import annotations

import importlib

from synaptic.commands.registry import Registry, registry

FILES = (
    "ask",
    "bench",
    "bench_report",
    "cache",
    "cluster",
    "collab",
    "completions",
    "config",
    "convert",
    "coordinator",
    "dashboard",
    "decision",
    "demo",
    "deploy",
    "deploy_check",
    "deploy_models",
    "deploy_reach",
    "discover",
    "distributed",
    "dllama",
    "dllama_park",
    "dllama_root",
    "doctor",
    "engine",
    "explain",
    "logs",
    "model",
    "model_doctor",
    "nodes",
    "plan",
    "profile",
    "prompts",
    "pull",
    "rpc",
    "serve",
    "shell",
    "status",
    "targets",
    "tune",
    "verify",
    "worker",
)


def load() -> Registry:
    """The registry with every command in it. The rooms they need are opened when they run."""
    for name in FILES:
        importlib.import_module(f"synaptic.commands.{name}")  # importing a file declares its commands
    return registry
