"""demo: the whole path, on this machine, with the built-in model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synaptic.commands.ask import _answer
from synaptic.commands.registry import registry
from synaptic.results import Stream

if TYPE_CHECKING:
    from synaptic.session import Session

QUESTION = "What is distributed inference?"


@registry.command("demo", group="answers")
async def demo(session: Session, *, workers: int = 2) -> Stream:
    """Start workers on this machine, spread the built-in model over them and ask it one question.

    Builds llama.cpp first when it is not here yet: about five minutes, once.

        demo
        demo --workers 3
    """
    if session.engines.find("llama-server") is None or session.engines.find("ggml-rpc-server") is None:
        await session.engines.install(session.bus)
    missing = workers - len(session.workers.all())
    if missing > 0:
        await session.workers.start(missing)
    session.know_backends()
    session.settings.for_now(distributed_inference_enabled=True, model="demo")
    session.conversation.clear()
    return await _answer(session, QUESTION, "demo")
