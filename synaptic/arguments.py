"""
argv, parsed once.

Our own flags may stand anywhere before `--`; the original's flags stand before a command. What remains is the
command's, whose own grammar (commands/) reads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from synaptic.errors import UsageError
from synaptic.terminal import one_line

USAGE = """\
usage: synaptic [flags] [COMMAND …]        without a command: the shell

  -i, --input TEXT                ask one prompt and leave
  -m, --model NAME                the model of this run
  -d, --distributed               the original's distributed mode
  --enable-distributed-inference  spread models over the workers (saved)
  --rpc-backend HOST[:PORT]       use this worker too (repeatable, saved)
  --add-node URL                  use this Ollama node or other server too (repeatable, saved)
  --load-config FILE              use the servers of this file too (saved)
  --discover CIDR                 look for Ollama nodes and other servers there first
  --metrics                       print the numbers of the answer as JSON after it
  --interactive                   go on to the shell after -i or a command
  -w, --workers N; --dask; --dask-scheduler ADDR
                                  accepted, and without effect here

  --json                          one JSON document on stdout
  --plain                         no colour, no Markdown, no animation
  --yes                           answer every question with yes
  --config FILE                   settings, instead of ~/.synapticllamas.json
  --debug, -v                     write more into the log; --debug shows tracebacks
  --version, --help

exit codes: 0 ok · 1 failed · 2 usage · 3 backend · 4 engine · 130 interrupted
"""

_SWITCHES = {"--json": "json", "--plain": "plain", "--yes": "yes", "--debug": "debug", "-v": "verbose", "--help": "help", "-h": "help"}
_SWITCHES_BEFORE = {
    "--version": "version",
    "--metrics": "metrics",
    "--interactive": "interactive",
    "-d": "distributed",
    "--distributed": "distributed",
    "--enable-distributed-inference": "enable_distributed_inference",
    "--dask": "dask",
}
_VALUES = {"--config": "config"}
_VALUES_BEFORE = {
    "-i": "input",
    "--input": "input",
    "-m": "model",
    "--model": "model",
    "-w": "workers",
    "--workers": "workers",
    "--rpc-backend": "rpc_backend",
    "--add-node": "add_node",
    "--discover": "discover",
    "--load-config": "load_config",
    "--dask-scheduler": "dask_scheduler",
}
_MANY = {"rpc_backend", "add_node"}


@dataclasses.dataclass(frozen=True)
class Arguments:
    command: tuple[str, ...] = ()
    input: str | None = None
    model: str | None = None
    workers: str | None = None
    rpc_backend: tuple[str, ...] = ()
    add_node: tuple[str, ...] = ()
    discover: str | None = None
    load_config: str | None = None
    dask_scheduler: str | None = None
    config: str | None = None
    distributed: bool = False
    enable_distributed_inference: bool = False
    dask: bool = False
    metrics: bool = False
    interactive: bool = False
    json: bool = False
    plain: bool = False
    yes: bool = False
    debug: bool = False
    verbose: bool = False
    version: bool = False
    help: bool = False

    @classmethod
    def parse(cls, words: Sequence[str]) -> Arguments:
        """Raises UsageError for a flag that does not exist or lacks its value."""
        found: dict[str, str | bool | tuple[str, ...]] = {}
        command: list[str] = []
        waiting = list(words)
        while waiting:
            word = waiting.pop(0)
            if "\0" in word:
                raise UsageError("an argument holds a NUL character")
            if word == "--":
                command += ["--", *waiting] if command else waiting
                break
            _take(word, waiting, command, found)
        return cls(command=tuple(command), **found)  # type: ignore[arg-type]  # the tables above name the fields


def _take(word: str, waiting: list[str], command: list[str], found: dict[str, str | bool | tuple[str, ...]]) -> None:
    switches = _SWITCHES if command else _SWITCHES | _SWITCHES_BEFORE
    values = _VALUES if command else _VALUES | _VALUES_BEFORE
    name, equals, inline = word.partition("=")
    if word in switches:
        found[switches[word]] = True
    elif name in values:
        field = values[name]
        if not equals and not _is_value(field, waiting):
            raise UsageError(f"{name} needs a value", hint="try: synaptic --help")
        value, before = inline if equals else waiting.pop(0), found.get(field, ())
        found[field] = (*before, value) if field in _MANY and isinstance(before, tuple) else value
    elif word.startswith("-") and word != "-" and not command:
        raise UsageError(f"no such flag: {one_line(word, 60)}", hint="try: synaptic --help")
    else:
        command.append(word)


def _is_value(field: str, waiting: list[str]) -> bool:
    """Whether what comes next is a value, and not the next flag. A prompt may look like one."""
    flags = _SWITCHES | _SWITCHES_BEFORE | _VALUES | _VALUES_BEFORE
    return bool(waiting) and (field == "input" or waiting[0] not in flags)
