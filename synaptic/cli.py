"""argv, stdin and environment → a session → an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from synaptic import __version__
from synaptic.errors import INTERRUPTED, SynapticError

if TYPE_CHECKING:
    from pathlib import Path

    from synaptic.arguments import Arguments
    from synaptic.environment import Environment
    from synaptic.session import Session
    from synaptic.settings import Settings
    from synaptic.shell.face import Face

NEW_OBJECTS = 50_000  # between two searches for unreachable ones: an answer keeps its tokens, and every 700th would cost 4 % of a gateway


def main(argv: Sequence[str] | None = None) -> int:
    """The whole program. `--version` and `--help` open no room that they do not need."""
    from synaptic.arguments import Arguments
    from synaptic.environment import Environment

    words = list(sys.argv[1:] if argv is None else argv)
    environment = Environment.of_this_process()
    try:
        arguments = Arguments.parse(words)
        if arguments.version or arguments.help:
            return _tell(environment, arguments)
        return _run(environment, arguments)
    except SynapticError as error:
        return _face(environment, Arguments(json="--json" in words)).fail(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return _face(environment, Arguments(json="--json" in words, debug="--debug" in words)).crash(error)


def _tell(environment: Environment, arguments: Arguments) -> int:
    import shutil

    from synaptic.arguments import USAGE
    from synaptic.terminal import printable, wrapped

    if arguments.version:
        text = f"synaptic {__version__}"
    else:
        from synaptic.commands import load
        from synaptic.commands.shell import describe, overview

        load()
        text = describe(list(arguments.command)).text if arguments.command else f"{USAGE}\ncommands\n\n{overview()}"
    if environment.stdout is None:
        return 0
    if environment.stdout.isatty():
        text = wrapped(text, shutil.get_terminal_size().columns)
    try:
        print(printable(text, environment.stdout.encoding), file=environment.stdout, flush=True)
    except BrokenPipeError:
        from synaptic.shell.face import CLOSED_PIPE
        from synaptic.shell.paper import discard

        discard(environment.stdout)
        return CLOSED_PIPE
    return 0


def _run(environment: Environment, arguments: Arguments) -> int:
    import asyncio
    import gc

    from synaptic import log
    from synaptic.loop import Loop
    from synaptic.settings import Settings

    state = environment.state_dir
    log.to_file(state / "logs" if state else None, debug=arguments.debug or arguments.verbose)
    settings = Settings.load(_settings_file(environment, arguments), environment.variables, _flags(arguments))
    gc.set_threshold(NEW_OBJECTS)
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(_live(environment, arguments, settings))


async def _live(environment: Environment, arguments: Arguments, settings: Settings) -> int:
    from synaptic.services import cannot_ask
    from synaptic.session import Session
    from synaptic.web.faces import faces

    face = _face(environment, arguments)
    session = Session(environment, settings, _yes if arguments.yes else cannot_ask)
    session.faces = faces(session)
    try:
        return await _prepare(session, face, arguments) or await _work(session, face, arguments)
    finally:
        await session.close()


async def _prepare(session: Session, face: Face, arguments: Arguments) -> int:
    """What the original's flags ask for before anything else."""
    from synaptic.endpoint import Endpoint

    if arguments.rpc_backend:
        await session.add_backends([Endpoint.parse(text) for text in arguments.rpc_backend])
    if arguments.enable_distributed_inference:
        await session.save(distributed_inference_enabled=True)
    if arguments.dask or arguments.dask_scheduler:
        face.talk("--dask: tasks are spread without Dask here; nothing to set up")
    if arguments.workers:
        face.talk("--workers has no effect: every ready worker takes part")
    asked = [("nodes", "add", url) for url in arguments.add_node]
    asked += [("nodes", "load", arguments.load_config)] if arguments.load_config else []
    asked += [("nodes", "discover", arguments.discover)] if arguments.discover else []
    from synaptic.commands import load
    from synaptic.shell import once

    for words in asked:
        if code := await once.run_aside(session, load(), face, words):
            return code
    return 0


async def _work(session: Session, face: Face, arguments: Arguments) -> int:
    from synaptic.commands import load
    from synaptic.shell import repl

    registry = load()
    if arguments.command or arguments.input is not None:
        for warning in () if _opens_shell(session, arguments) else session.settings.warnings:  # a shell says them itself
            face.talk(f"! {warning}")
        words = list(arguments.command) if arguments.command else ["ask", "--", arguments.input or ""]
        code = await _once(session, face, words, metrics=arguments.metrics)
        if code or not _opens_shell(session, arguments):
            return code
    if session.environment.is_interactive:
        return await repl.run(session, registry, face)
    return await repl.run_script(session, registry, face, session.environment.stdin)


def _opens_shell(session: Session, arguments: Arguments) -> bool:
    """Whether the user will be at a prompt in the end."""
    goes_on = arguments.interactive or arguments.command in ((), ("demo",))
    return session.environment.is_interactive and goes_on and not arguments.json and (arguments.input is None or arguments.interactive)


async def _once(session: Session, face: Face, words: list[str], *, metrics: bool = False) -> int:
    """One command; Ctrl-C cancels it."""
    from synaptic.commands import load
    from synaptic.shell import once

    return await once.run(session, load(), face, words, metrics=metrics)


async def _yes(question: str) -> bool:
    return True


def _settings_file(environment: Environment, arguments: Arguments) -> Path | None:
    from synaptic.files import path_of

    return path_of(arguments.config).absolute() if arguments.config else environment.settings_file


def _flags(arguments: Arguments) -> dict[str, object]:
    """What this run's flags say of the settings, without saving it."""
    flags: dict[str, object] = {}
    if arguments.model:
        flags["model"] = arguments.model
    if arguments.distributed:
        flags["mode"] = "distributed"
    return flags


def _face(environment: Environment, arguments: Arguments) -> Face:
    from synaptic.shell.face import Face

    return Face(environment, as_json=arguments.json, plain=arguments.plain, debug=arguments.debug)
