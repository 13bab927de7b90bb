"""demo: the whole path, on this machine, with the built-in model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synaptic.commands.ask import _answer
from synaptic.commands.registry import registry
from synaptic.process.builtin_install import install_builtin, is_installed
from synaptic.results import Stream

if TYPE_CHECKING:
    from synaptic.session import Session

QUESTION = "What is distributed inference?"


@registry.command("demo", group="answers")
async def demo(session: Session, *, workers: int = 2) -> Stream:
    """Start workers on this machine, spread the built-in model over them and ask it one question.

    With llama.cpp where it is installed (`engine install llama.cpp`), else with the built-in engine, whose packages are
    fetched first: some seconds, once.

        demo
        demo --workers 3

    See also: engine install, worker start, ask
    """
    is_bare = session.has_no_llama
    if is_bare and not is_installed():
        await install_builtin(session.bus, session.logs / "engine-builtin.log", session.environment.variables)
    engine = "builtin" if is_bare else "llama.cpp"
    missing = workers - len(session.workers.of(engine))
    if missing > 0:
        await session.workers.start(missing, engine=engine)
    session.know_backends()
    split = {"dllama_split": "layers"} if is_bare else {}
    session.settings.for_now(distributed_inference_enabled=True, model="demo", **split)
    session.conversation.clear()
    return await _answer(session, QUESTION, "demo")
