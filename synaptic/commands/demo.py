"""demo: the whole path, on this machine, with the built-in model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from synaptic.commands.ask import _answer
from synaptic.commands.registry import registry
from synaptic.errors import UsageError
from synaptic.process.builtin_install import install_builtin, is_installed
from synaptic.results import Stream

if TYPE_CHECKING:
    from synaptic.session import Session

QUESTION = "What is distributed inference?"
MOST = 16  # workers: more than any machine has a use for


@registry.command("demo", group="answers")
async def demo(session: Session, *, workers: int = 2) -> Stream:
    """Start workers on this machine, spread the built-in model over them and ask it one question.

    With llama.cpp where it is installed (`engine install llama.cpp`), else with the built-in engine, whose packages are
    fetched first: some seconds, once.

        demo
        demo --workers 3

    See also: engine install, worker start, ask
    """
    if not 1 <= workers <= MOST:
        raise UsageError(f"--workers is 1 to {MOST}, not {workers}", hint="usage: demo [--workers <n>]")
    is_bare = session.has_no_llama
    if is_bare and not is_installed():
        await install_builtin(session.bus, session.logs / "engine-builtin.log", session.environment.variables)
    engine = "builtin" if is_bare else "llama.cpp"
    missing = workers - len(session.workers.of(engine))
    if missing > 0:
        await session.workers.start(missing, engine=engine)
        await _stop_narrower(session)
    session.know_backends()
    split = {"dllama_split": "layers"} if is_bare else {}
    session.settings.for_now(distributed_inference_enabled=True, model="demo", **split)
    session.conversation.clear()
    return _leading_on(await _answer(session, QUESTION, "demo"), is_bare)


async def _stop_narrower(session: Session) -> None:
    """What was loaded before there were these workers; the question loads it anew, over all of them."""
    if any(each.plan.model.name == "demo" for each in session.coordinators.all()):
        await session.coordinators.stop("demo")
    if session.is_open("roots") and session.roots.of("demo"):
        await session.roots.stop("demo")


def _leading_on(stream: Stream, is_bare: bool) -> Stream:
    """The same, with what to do next after the answer."""
    own = f"{'engine install llama.cpp, ' if is_bare else ''}rpc discover, model use FILE.gguf"
    hint = f"next: ask it what a worker is, or see: status, explain\n  with machines and a model of your own: {own}"
    return dataclasses.replace(stream, outcome=lambda: dataclasses.replace(stream.outcome(), hint=hint))
