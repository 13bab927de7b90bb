"""A rendered folder, looked at again: whether it is whole, and still what its profile says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from synaptic import __version__
from synaptic.deploy.profiles import Profiles
from synaptic.deploy.render import MANIFEST
from synaptic.errors import UsageError
from synaptic.terminal import one_line

LIMIT = 1 << 22  # bytes of a manifest, or of a file in it


@dataclasses.dataclass(frozen=True)
class Finding:
    what: str
    why: str


@dataclasses.dataclass(frozen=True)
class Rendering:
    """What a folder's manifest says."""

    folder: Path
    profile: str
    sha256: str
    target: str
    version: str
    files: dict[str, str]
    is_planned: bool = False  # its limits came from a plan for a model


def rendering(folder: Path) -> Rendering:
    """Raises UsageError: it is none."""
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(LIMIT))
        words = {name: str(said[name]) for name in ("profile", "sha256", "target", "version")}
        return Rendering(
            folder, **words, files={str(name): str(value) for name, value in said["files"].items()}, is_planned=bool(said.get("plan"))
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{folder} was not rendered", hint="try: deploy render PROFILE --out DIR") from error


def findings(found: Rendering, profiles: Profiles) -> list[Finding]:
    """Empty: all is as it was rendered, and would be rendered so again."""
    inside = found.folder.resolve()
    wrong: list[Finding] = []
    for name, expected in found.files.items():
        path = found.folder / name
        if not path.resolve().is_relative_to(inside):
            wrong.append(Finding(name, "leads out of the folder"))
        elif not path.is_file():
            wrong.append(Finding(name, "is missing"))
        elif hashlib.sha256(path.read_bytes()[:LIMIT]).hexdigest() != expected:
            wrong.append(Finding(name, "was changed after it was rendered"))
    known = {*found.files, MANIFEST}
    present = (path for path in found.folder.rglob("*") if path.is_file())
    wrong += [Finding(name, "was not rendered") for path in present if (name := path.relative_to(found.folder).as_posix()) not in known]
    return wrong + _against_profile(found, profiles)


def _against_profile(found: Rendering, profiles: Profiles) -> list[Finding]:
    name = found.profile.partition("@")[0]
    wrong: list[Finding] = []
    try:
        same = profiles.profile(found.profile)
        newest = profiles.profile(name)
    except UsageError as error:
        return [Finding(one_line(found.profile, 80), str(error))]
    if same.sha256 != found.sha256:
        wrong.append(Finding(found.profile, "says something else than when this was rendered"))
    if newest.label != found.profile:
        wrong.append(Finding(found.profile, f"{newest.label} is newer"))
    if found.version != __version__:
        wrong.append(Finding("this program", f"is {__version__}, and {found.version} rendered this"))
    return wrong
