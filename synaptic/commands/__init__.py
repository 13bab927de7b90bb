"""The verbs, one file per noun."""

from __future__ import annotations

from synaptic.commands.registry import Registry, registry


def load() -> Registry:
    """The registry with every command in it. The rooms they need are opened when they run."""
    from synaptic.commands import (  # noqa: F401 - importing a file declares its commands
        ask,
        bench,
        bench_report,
        cache,
        collab,
        completions,
        config,
        convert,
        coordinator,
        dashboard,
        decision,
        demo,
        deploy,
        deploy_reach,
        discover,
        distributed,
        dllama,
        dllama_root,
        doctor,
        engine,
        explain,
        logs,
        model,
        model_doctor,
        nodes,
        plan,
        profile,
        prompts,
        pull,
        rpc,
        serve,
        shell,
        status,
        targets,
        worker,
    )

    return registry
