"""
What a folder of engine programs is: a stamp beside its `bin/`, written when it was built, compared before it is used.

    {"engine", "version", "commit", "flags", "compiler", "arch", "source_sha256", "built_at", "programs": {name: sha256}}
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from synaptic.errors import EngineError
from synaptic.process.elf import HEAD, OTHER, machine_of
from synaptic.terminal import one_line

STAMP = "stamp.json"
LIMIT = 1 << 16  # bytes of it that are read


@dataclasses.dataclass(frozen=True)
class BuildRecord:
    """None: not known. `arch` is read from the programs themselves."""

    engine: str
    version: str | None
    commit: str | None
    flags: tuple[str, ...]
    compiler: str | None
    arch: str | None
    source_sha256: str | None
    built_at: str | None
    programs: Mapping[str, str]


def record_of(
    programs: Path, engine: str, *, flags: Sequence[str], version: str | None, commit: str | None = None, **more: str | None
) -> BuildRecord:
    """Of the programs in a folder, hashed now. `more`: compiler, source_sha256. Raises EngineError: none, or of several kinds."""
    found = sorted(path for path in programs.iterdir() if path.is_file()) if programs.is_dir() else []
    kinds = {path.name: architecture_of(path) for path in found}
    named = {kind for kind in kinds.values() if kind}
    if not found:
        raise EngineError(f"there are no programs in {programs}", hint="name the folder that has bin/ in it")
    if len(named) > 1:
        raise EngineError(f"{programs} has programs for {' and '.join(sorted(named))}", hint="one folder for each architecture")
    return BuildRecord(
        engine=engine,
        version=version,
        commit=commit,
        flags=tuple(flags),
        compiler=more.get("compiler"),
        arch=next(iter(named), None),
        source_sha256=more.get("source_sha256"),
        built_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        programs={path.name: sha256_of(path) for path in found},
    )


def write_record(folder: Path, record: BuildRecord) -> None:
    (folder / STAMP).write_text(json.dumps(dataclasses.asdict(record), indent=2) + "\n")


def read_record(folder: Path) -> BuildRecord | None:
    """None: no stamp, or one of before there were sums."""
    try:
        with (folder / STAMP).open("rb") as file:
            said = json.loads(file.read(LIMIT))
        words = {name: _word(said.get(name)) for name in ("version", "commit", "compiler", "arch", "source_sha256", "built_at")}
        programs = {str(name): str(value) for name, value in said["programs"].items()}
        return BuildRecord(engine=str(said["engine"]), flags=tuple(map(str, said["flags"])), programs=programs, **words)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def record_beside(program: Path) -> BuildRecord | None:
    """Of a program in the `bin/` of such a folder, if it is still what was recorded."""
    record = read_record(program.resolve().parent.parent)
    return record if record and record.programs.get(program.resolve().name) == sha256_of(program) else None


def architecture_of(program: Path) -> str | None:
    """The architecture that an ELF file is for; None: none of ours, or no ELF file."""
    with program.open("rb") as file:
        found = machine_of(file.read(HEAD))
    return None if found == OTHER else found


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _word(value: object) -> str | None:
    return None if value is None else one_line(str(value), 200)
