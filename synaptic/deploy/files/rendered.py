"""A rendered folder, looked at again: whether it is whole, and still what its profile says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from synaptic import __version__
from synaptic.deploy.files.render import MANIFEST
from synaptic.deploy.profile.document import Document
from synaptic.deploy.profile.profile import Profile, parts_of
from synaptic.deploy.profile.profiles import Profiles
from synaptic.deploy.profile.read import profile_of
from synaptic.errors import UsageError
from synaptic.files import path_of
from synaptic.terminal import one_line

LIMIT = 1 << 22  # bytes of a manifest, or of a file in it


@dataclasses.dataclass(frozen=True)
class Finding:
    what: str
    why: str


@dataclasses.dataclass(frozen=True)
class Rendering:
    """What a folder's manifest says. `document`: the profile's, so that the folder is enough to apply it."""

    folder: Path
    profile: str
    sha256: str
    target: str
    version: str
    files: dict[str, str]
    document: dict[str, object]

    @property
    def cluster(self) -> str:
        return self.profile.partition("@")[0]

    def installed(self) -> dict[tuple[str, str], str]:
        """What nodes are given: by node and path there, the path here. Empty for targets that install nothing."""
        if self.target not in ("ansible", "systemd"):
            return {}
        below = "files/" if self.target == "ansible" else ""
        parts = [(name, name.removeprefix(below).partition("/")) for name in self.files if name.startswith(below)]
        return {(node, f"/{path}"): name for name, (node, _, path) in parts}

    def node(self, named: str | None) -> str:
        """The one that a folder stands for. Raises UsageError: it is none of them, or there are several."""
        names = list(dict.fromkeys(node for node, _ in self.installed()))
        if named not in names and (named is not None or len(names) != 1):
            raise UsageError("which node does the folder stand for?", hint=f"add --node {'|'.join(names)}")
        return named or names[0]


def rendering(folder: Path) -> Rendering:
    """Raises UsageError: it is none."""
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(LIMIT))
        words = {name: str(said[name]) for name in ("profile", "sha256", "target", "version")}
        files = {str(name): str(value) for name, value in said["files"].items()}
        return Rendering(folder, **words, files=files, document={**said["document"]})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{folder} was not rendered", hint="try: deploy render PROFILE --out DIR") from error


def described(found: Rendering) -> Profile:
    """The profile that it was rendered from. Raises UsageError: somebody changed it."""
    document = Document(found.folder / MANIFEST, "", found.document, {})
    profile = profile_of(document)
    if (profile.label, profile.sha256) != (found.profile, found.sha256):
        raise UsageError(f"{document.path} was changed after it was rendered", hint="try: deploy render PROFILE --out DIR")
    return profile


def chosen(word: str, profiles: Profiles) -> Profile:
    """By name or file, or that of a rendered folder: ./beefcake, where beefcake is a profile's name too. Raises UsageError."""
    folder = path_of(word)
    is_name = any(path.parent.name == word.partition("@")[0] for path in profiles.files())
    return described(rendering(folder)) if folder.is_dir() and ("/" in word or not is_name) else profiles.profile(word)


def findings(found: Rendering, profiles: Profiles) -> list[Finding]:
    """Empty: all is as it was rendered, and would be rendered so again."""
    return altered(found) + _against_profile(found, profiles)


def altered(found: Rendering) -> list[Finding]:
    """Files that are not what the manifest says."""
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
    return wrong


def _against_profile(found: Rendering, profiles: Profiles) -> list[Finding]:
    """One that was given as a file need not be among those that are known."""
    wrong: list[Finding] = []
    try:
        own = described(found)
        known = profiles.versions(own.name)
        if own.version in known and profiles.profile(own.label).sha256 != own.sha256:
            wrong.append(Finding(own.label, "says something else than when this was rendered"))
        if known and parts_of(known[-1]) > parts_of(own.version):
            wrong.append(Finding(own.label, f"{own.name}@{known[-1]} is newer"))
    except UsageError as error:
        return [Finding(one_line(found.profile, 80), str(error))]
    if found.version != __version__:
        wrong.append(Finding("this program", f"is {__version__}, and {found.version} rendered this"))
    return wrong
