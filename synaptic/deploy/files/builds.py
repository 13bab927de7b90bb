"""The builds of engines that a rendering brings along: one folder for each architecture, and which node gets which program."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from synaptic.deploy.profile.profile import Node, Profile
from synaptic.deploy.services.service import ENV, RESOLVE, Service
from synaptic.errors import UsageError
from synaptic.process.build_record import BuildRecord, architecture_of, read_record, sha256_of

RECORDS = "etc/llama-cluster/builds.json"  # on a node: what its programs are


@dataclasses.dataclass(frozen=True)
class Build:
    """`folder` holds `bin/`."""

    folder: Path
    record: BuildRecord


@dataclasses.dataclass(frozen=True)
class Placed:
    """A program of a build as a node gets it. `path` is where, `source` from where on this machine."""

    name: str
    path: str
    source: Path
    sha256: str
    record: BuildRecord


def read_builds(folders: Sequence[Path]) -> list[Build]:
    """Raises UsageError: no record, a program that is not what was recorded, or is for another machine than it says."""
    found = []
    for folder in folders:
        record = read_record(folder)
        if record is None:
            raise UsageError(f"{folder} does not say how it was built", hint=f"engine record {folder} --engine NAME --commit COMMIT")
        for name, expected in record.programs.items():
            path = folder / "bin" / name
            if not path.is_file() or sha256_of(path) != expected:
                raise UsageError(f"{path} is not what was recorded", hint=f"engine record {folder} says it anew")
            if architecture_of(path) not in (None, record.arch):
                raise UsageError(
                    f"{path} was built for {architecture_of(path)}, and its record says {record.arch}", hint="one folder for each"
                )
        found.append(Build(folder.absolute(), record))
    return found


def placed(profile: Profile, node: Node, services: Sequence[Service], builds: Sequence[Build]) -> list[Placed]:
    """What this node is given. Raises UsageError: builds have a program that it needs, and none is for its architecture."""
    found: dict[str, Placed] = {}
    for path in dict.fromkeys(program_of(service) for service in services if service.node == node):
        name = PurePosixPath(path).name
        having = [build for build in builds if name in build.record.programs]
        fitting = [build for build in having if build.record.arch in (None, node.kind.arch)]
        if having and not fitting:
            there = ", ".join(f"{build.folder} is for {build.record.arch}" for build in having)
            raise UsageError(
                f"{node.name} is {node.kind.arch}, and no build of {name} is: {there}", hint="engine install on such a machine"
            )
        for build in fitting[:1]:
            found[path] = Placed(name, path, build.folder / "bin" / name, build.record.programs[name], build.record)
    return list(found.values())


def records(given: Sequence[Placed]) -> str:
    """For the node: what each of its programs is."""
    entries = [{"path": each.path, "sha256": each.sha256, **_said(each.record)} for each in given]
    return json.dumps({"programs": entries}, indent=1) + "\n"


def expected(text: str) -> dict[str, str]:
    """By path: the sum that `records` wrote. Raises ValueError or KeyError for what it did not write."""
    return {str(each["path"]): str(each["sha256"]) for each in json.loads(text)["programs"]}


def program_of(service: Service) -> str:
    """The engine's own, behind the scripts that start it."""
    words = service.bare[1:] if service.bare[0] == RESOLVE else service.bare
    return next(word for word in words[1:] if "=" not in word) if words[0] == ENV else words[0]


def _said(record: BuildRecord) -> Mapping[str, object]:
    return {name: value for name, value in dataclasses.asdict(record).items() if name != "programs"}
