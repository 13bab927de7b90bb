"""model convert: a GGUF file as the two files of distributed-llama, so that one model serves both engines."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import models
from synaptic.commands.grammar import Choice, Complete
from synaptic.commands.in_thread import in_thread
from synaptic.commands.pull import models_folder
from synaptic.commands.registry import registry
from synaptic.errors import EngineError, SynapticError, UsageError, os_reason
from synaptic.events import Noticed
from synaptic.models.meter import Meter
from synaptic.results import Note, gib, plural
from synaptic.terminal import one_line

if TYPE_CHECKING:
    from synaptic.dllama.convert.convert import Conversion
    from synaptic.models.model import Model
    from synaptic.session import Session

SPARE = 64 * 1024**2  # bytes that stay free on the disk
_QUANTIZATION = re.compile(r"[-_.](i?q\d\w*|bf16|f16|f32)$", re.IGNORECASE)


class StoppedError(Exception):
    """Whoever waited for the conversion went away."""


@dataclasses.dataclass(frozen=True)
class Written:
    bytes: int
    is_lossless: bool
    notices: tuple[str, ...]


@registry.command("model convert", group="models")
async def convert(
    session: Session,
    name: Annotated[str, Complete(models)],
    *,
    out: Path | None = None,
    type: Annotated[str, Choice("q40", "f32")] = "q40",
) -> Note:
    """Write a GGUF model as a .m and a .t file, which distributed-llama and the built-in engine run.

    For Llama, Qwen3 and Qwen3 mixtures of experts. Q4_0 weights stay what they are; all others are rounded to q40,
    best from F16 or Q8_0. --out is the folder for the two files.

        model convert demo
        model convert ~/models/llama-3.1-8b-q4_0.gguf --out ~/models

    See also: model show, model pull, distributed
    """
    from synaptic.models.dllama_file import is_dllama
    from synaptic.models.model import file_of

    found = await asyncio.to_thread(session.catalog.find, name)
    source = file_of(found)
    if is_dllama(source):
        raise UsageError(f"{found.name} is a model of distributed-llama already", hint=f"try: model use {found.name}")
    target = models_folder(session, out, "--out") / f"{_stem(found, source)}-{type}.m"
    if await asyncio.to_thread(target.exists) and not await session.confirm(f"replace {target}?"):
        return Note("nothing changed")
    what, meter = f"converting {one_line(found.name, 60)}", Meter()
    with session.bus.work(what) as work:
        written = await in_thread(work, what, meter, lambda: _write(found, source, target, type, meter))
    for text in written.notices:
        session.bus.publish(Noticed(text=text, attention=True))
    known = target.stem if session.catalog.knows(target.stem) else str(target)
    data = {"path": target, "tokenizer": target.with_suffix(".t"), "from": source, "bytes": written.bytes, "lossless": written.is_lossless}
    text = f"{target} and its tokenizer .t are here: {gib(written.bytes)}" + (", the same weights" if written.is_lossless else "")
    return Note(text, data, hint=f"try: model use {known}")


def _stem(model: Model, source: Path) -> str:
    """The model's name without a quantization: the new file has another."""
    stem = source.stem if model.source in ("file", "folder", "shipped") else re.sub(r"[^A-Za-z0-9._-]+", "-", model.name)
    return _QUANTIZATION.sub("", re.sub(r"-\d{5}-of-\d{5}$", "", stem)) or stem


def _write(model: Model, source: Path, target: Path, kind: str, meter: Meter) -> Written:
    """Runs in a thread, until it is done or the meter says stop."""
    try:
        from synaptic.dllama.convert.convert import convert, prepare
        from synaptic.dllama.convert.source import CannotConvertError
    except ImportError as error:
        raise EngineError("converting needs numpy, which is not installed", hint="try: engine install builtin") from error
    from synaptic.models.gguf_convert import convertible

    def progress(count: int) -> None:
        meter.add(count)
        if meter.stop.is_set():
            raise StoppedError

    try:
        with convertible(source) as content:
            conversion = prepare(content, kind.upper())
            meter.total = conversion.read_bytes
            _make_room(conversion.header.file_bytes, target.parent)
            convert(conversion, target, target.with_suffix(".t"), progress)
    except CannotConvertError as error:
        raise EngineError(f"{one_line(model.name, 60)} {one_line(str(error))}", hint="it stays usable with llama.cpp") from error
    except OSError as error:
        raise SynapticError(f"{target} cannot be written: {os_reason(error)}") from error
    return Written(conversion.header.file_bytes, conversion.is_lossless, _notices(model, conversion))


def _make_room(size: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if size + SPARE > free:
        raise SynapticError(f"the model takes {gib(size)}, and {gib(free)} are free in {folder}", hint="name another place: --out <folder>")


def _notices(model: Model, conversion: Conversion) -> tuple[str, ...]:
    name = one_line(model.name, 60)
    found = []
    if conversion.template is None:
        found.append(f"{name} has no chat template that distributed-llama knows: it can complete texts, but not chat there")
    if rough := sorted(conversion.kinds - {"F32", "F16", "BF16", "Q8_0", "Q4_0"}):
        found.append(f"{name} was rounded a second time, from {', '.join(rough)}: one from F16 or Q8_0 is better")
    if lost := conversion.converted.out_of_reach:
        found.append(f"{plural(lost, 'character')} of {name}, such as those of Chinese, are spelt in bytes there: such texts get longer")
    return tuple(found)
