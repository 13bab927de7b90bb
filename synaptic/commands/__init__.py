"""The verbs, one file per noun."""

from __future__ import annotations

from synaptic.commands.registry import Registry, registry


def load() -> Registry:
    """The registry with every command in it. The rooms they need are opened when they run."""
    from synaptic.commands import (  # noqa: F401 - importing a file declares its commands
        ask,
        completions,
        config,
        coordinator,
        demo,
        discover,
        distributed,
        doctor,
        engine,
        logs,
        model,
        rpc,
        shell,
        status,
        worker,
    )

    return registry
