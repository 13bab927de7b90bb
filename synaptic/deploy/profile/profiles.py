"""
Where profiles are: those that are shipped, and the user's own, one folder each and one file per version.

    NAME/v0.1.yaml      a version is written once; the next change is the next version
    profiles.json       who refers to which version, and the sha256 that it had then: it may not change any more
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from synaptic.deploy.profile.document import Document, document_of, read_document
from synaptic.deploy.profile.profile import Profile, parts_of
from synaptic.deploy.profile.read import profile_of
from synaptic.environment import Environment
from synaptic.errors import UsageError, unwritten
from synaptic.files import path_of, write_whole
from synaptic.shipped import shipped
from synaptic.terminal import one_line

LIMIT = 1 << 20  # bytes of the references that are read


class Profiles:
    """`own`: the user's folder, or None where there is none to write to; `references`: the file that says who refers to what."""

    def __init__(self, shipped: Path, own: Path | None, references: Path | None) -> None:
        self._shipped = shipped
        self._own = own
        self._references = references

    @classmethod
    def of(cls, environment: Environment) -> Profiles:
        own = environment.data_dir / "hardware" if environment.data_dir else None
        return cls(shipped("hardware"), own, environment.state_dir / "profiles.json" if environment.state_dir else None)

    def files(self) -> list[Path]:
        """By name, then by version; the user's own after what is shipped."""
        folders = [folder for folder in (self._shipped, self._own) if folder and folder.is_dir()]
        found = [path for folder in folders for path in folder.glob("*/v*.yaml") if _version(path)]
        return sorted(found, key=lambda path: (path.parent.name, _version(path)))

    def own(self) -> list[str]:
        """The names of those that are the user's."""
        return sorted({path.parent.name for path in self.files() if self._own and path.is_relative_to(self._own)})

    def versions(self, name: str) -> list[str]:
        """Of those called so: the oldest first."""
        return [path.stem[1:] for path in self.files() if path.parent.name == name]

    def find(self, word: str) -> Document:
        """A file, `NAME` (its newest version) or `NAME@VERSION`. Raises UsageError."""
        if "/" in word or word.endswith((".yaml", ".yml")):
            document = read_document(path_of(word))
        else:
            name, _, version = word.partition("@")
            fitting = [path for path in self.files() if path.parent.name == name and version.removeprefix("v") in ("", path.stem[1:])]
            if not fitting:
                raise UsageError(f"no profile is called {one_line(word, 60)}", hint="try: profile list")
            document = read_document(fitting[-1])
        self._check_unchanged(document)
        return document

    def profile(self, word: str) -> Profile:
        return profile_of(self.find(word))

    def referrers(self, profile: Profile) -> tuple[str, ...]:
        """What refers to this version, so that it may not change."""
        return tuple(self._read().get(profile.label, {}).get("by", ()))

    def refer(self, profile: Profile, by: str) -> None:
        """From now on this version may not change. Raises SynapticError when that cannot be written down."""
        if self._references is None:
            return
        known = self._read()
        by_whom = [*known.get(profile.label, {}).get("by", ())][-99:]
        known[profile.label] = {"sha256": profile.sha256, "by": list(dict.fromkeys([*by_whom, by]))}
        write_whole(self._references, json.dumps(known, indent=1))

    def write(self, text: str) -> Path:
        """A new version among the user's own. Raises UsageError: it is no profile, or is there already."""
        profile = profile_of(document_of(Path("the new profile"), text))
        if self._own is None:
            raise UsageError("there is no folder for profiles", hint="export HOME, or SYNAPTICLLAMAS_HOME")
        path = self._own / profile.name / f"v{profile.version}.yaml"
        if any(each.parent.name == profile.name and each.name == path.name for each in self.files()):
            raise UsageError(f"{profile.label} is there already", hint=f"try: profile bump {profile.name}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            draft.write_text(text, encoding="utf-8")
            try:
                os.link(draft, path)  # unlike a rename, never over one that came meanwhile
            finally:
                draft.unlink()
        except OSError as error:
            raise unwritten(path, error) from error
        return path

    def next_version(self, name: str, version: str) -> str:
        """The first one after `version` that nobody has: 0.1 → 0.1.1 → 0.1.2."""
        major, minor, patch = (*parts_of(version), 0)[:3]
        taken = {_version(path) for path in self.files() if path.parent.name == name}
        while (major, minor, patch := patch + 1) in taken:
            pass
        return f"{major}.{minor}.{patch}"

    def _check_unchanged(self, document: Document) -> None:
        label = f"{document.values.get('name')}@{document.values.get('version')}"
        known = self._read().get(label)
        if known and known.get("sha256") != document.sha256:
            by = ", ".join(map(str, known.get("by", ()))) or "something"
            raise UsageError(
                f"{document.path} was changed, but {one_line(label, 80)} may not: {one_line(by, 200)} refers to it",
                hint="give it the next version, and put the old one back",
            )

    def _read(self) -> dict[str, dict[str, list[str] | str]]:
        if self._references is None:
            return {}
        with contextlib.suppress(OSError, ValueError, RecursionError), self._references.open("rb") as file:
            found = json.loads(file.read(LIMIT))
            return {key: value for key, value in found.items() if isinstance(value, dict)} if isinstance(found, dict) else {}
        return {}


def _version(path: Path) -> tuple[int, ...]:
    try:
        return parts_of(path.stem[1:])
    except ValueError:
        return ()
