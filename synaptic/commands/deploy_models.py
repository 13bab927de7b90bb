"""deploy models: the manifest of a models directory, written and compared."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import Complete
from synaptic.commands.in_thread import in_thread
from synaptic.commands.profile import names, profiles_of
from synaptic.commands.registry import registry
from synaptic.errors import SynapticError, UsageError
from synaptic.files import path_of
from synaptic.models.meter import Meter
from synaptic.results import Cell, Rows, gib, plural

if TYPE_CHECKING:
    from synaptic.deploy.files.models_dir import Verified
    from synaptic.deploy.profile.profile import ModelFile
    from synaptic.session import Session

CHUNK = 1 << 22


@registry.command("deploy models", group="deploy")
async def models(
    session: Session,
    folder: str,
    *,
    write: bool = False,
    source: str | None = None,
    profile: Annotated[str | None, Complete(names)] = None,
    quick: bool = False,
) -> Rows[Verified]:
    """Compare a models directory, local or mounted, with its manifest: the size and sum of every file. --quick: sizes alone.

    The manifest is manifest.json in the directory, or services.models.files of a --profile, which the machines of that
    profile then compare with too before they serve. --write makes it of what is there; --source says where that is from.

        deploy models /srv/models --write --source https://example.org/models
        deploy models /srv/models
        deploy models /mnt/nfs/models --profile beefcake --quick

    See also: deploy render, model list
    """
    from synaptic.deploy.files.models_dir import read_manifest, scanned, verify, write_manifest

    place = path_of(folder)
    if not place.is_dir():
        raise UsageError(f"{place} is no folder", hint="name the one that models are in")
    if source and not write:
        raise UsageError("--source is written down", hint="add --write")
    meter = Meter()
    hash_ = functools.partial(_sum, meter)
    known = await asyncio.to_thread(profiles_of(session).profile, profile) if profile else None
    wanted: list[ModelFile] = list(known.services.models_files) if known else await asyncio.to_thread(read_manifest, place)
    if not wanted and not write:
        what = f"{known.label} names no model files" if known else f"{place} has no manifest"
        raise UsageError(what, hint=f"try: deploy models {folder} --write")
    with session.bus.work("reading models") as work:
        if write:
            wanted = await in_thread(work, "reading models", meter, lambda: scanned(place, source, hash_, wanted))
            await asyncio.to_thread(write_manifest, place, wanted)
        found = await in_thread(work, "reading models", meter, lambda: verify(place, wanted, hash_, quick=quick or write))
    return _shown(place, found, {"folder": place, "written": write, "files": wanted})


def _shown(place: Path, found: Sequence[Verified], data: Mapping[str, object]) -> Rows[Verified]:
    wrong = [each for each in found if each.why]
    return Rows(
        key="models",
        items=found,
        columns={
            "model": lambda each: each.name,
            "size": lambda each: gib(each.bytes),
            "": lambda each: Cell(each.why or "as it should be", "bad" if each.why else "good"),
        },
        empty=f"{place} has no models",
        data=data,
        summary=f"{plural(len(found) - len(wrong), 'model')} of {len(found)} as the manifest says",
        exit_code=1 if wrong else 0,
    )


def _sum(meter: Meter, path: Path) -> str:
    """The sum of a file, which may be 100 GB: it ends soon when nobody waits for it any more."""
    import hashlib

    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            if meter.stop.is_set():
                raise SynapticError("interrupted")
            found.update(piece)
            meter.add(len(piece))
    return found.hexdigest()
