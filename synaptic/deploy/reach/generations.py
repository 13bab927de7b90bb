"""
What was applied to a cluster: the last ten rendered folders, whole, each with the sum of its manifest.

    deployments/CLUSTER/index.json    which is live, and for each: number, profile, sha256, when it was first applied
    deployments/CLUSTER/NUMBER/       the folder as it was rendered

The manifest has the sum of every file, so its own sum vouches for all of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from pathlib import Path

from synaptic.deploy.files.render import MANIFEST
from synaptic.deploy.files.rendered import Rendering, altered, rendering
from synaptic.environment import Environment
from synaptic.errors import SynapticError, UsageError, os_reason
from synaptic.files import write_whole

MOST = 10
LIMIT = 1 << 20  # bytes of the index


@dataclasses.dataclass(frozen=True)
class Generation:
    """`sha256`: of its manifest. `applied_at`: for the first time, in UTC, as ISO 8601 writes it."""

    number: int
    profile: str
    sha256: str
    applied_at: str
    is_live: bool = False


class Generations:
    """Of one cluster; `folder` need not be there yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of(cls, environment: Environment, cluster: str, root: Path | None = None) -> Generations:
        """`root`: a folder that stands for the machines has a history of its own. Raises UsageError: there is nowhere to keep one."""
        if environment.state_dir is None:
            raise UsageError("there is no folder to keep what was applied", hint="export HOME, or SYNAPTICLLAMAS_HOME")
        own = f"{cluster}+{hashlib.sha256(str(root.absolute()).encode()).hexdigest()[:12]}" if root else cluster
        return cls(environment.state_dir / "deployments" / own)

    def all(self) -> list[Generation]:
        """The oldest first. Raises SynapticError: the index cannot be read."""
        try:
            with (self._folder / "index.json").open("rb") as file:
                document = json.loads(file.read(LIMIT))
            return [Generation(**each, is_live=each["number"] == document["live"]) for each in document["generations"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise SynapticError(f"{self._folder}/index.json cannot be read", hint="move that folder away: its history is lost") from error

    def live(self) -> Generation | None:
        return next((each for each in self.all() if each.is_live), None)

    def before(self, number: int | None) -> Generation:
        """The one named, or the one before what is live. Raises UsageError."""
        known = self.all()
        if number is None:
            live = next((each.number for each in known if each.is_live), 0)
            fitting, what = [each for each in known if each.number < live], "nothing to go back to"
        else:
            fitting, what = [each for each in known if each.number == number], f"no generation {number}"
        if not fitting:
            there = ", ".join(str(each.number) for each in known) or "none"
            raise UsageError(f"{what}; there are: {there}", hint="deploy apply keeps what it applied; deploy generations FOLDER shows it")
        return fitting[-1]

    def folder(self, generation: Generation) -> Rendering:
        """Raises UsageError: it is no longer what was applied."""
        path = self._folder / str(generation.number)
        found = rendering(path)
        if _sum(path) != generation.sha256:
            raise UsageError(f"{path / MANIFEST} was changed after it was applied", hint="deploy rollback FOLDER --to another one")
        if wrong := altered(found):
            raise UsageError(
                f"generation {generation.number}: {wrong[0].what} {wrong[0].why}", hint="deploy rollback FOLDER --to another one"
            )
        return found

    def applied(self, found: Rendering) -> Generation:
        """Keep it, unless it is there already, and note that it is live. Raises SynapticError."""
        known, sum_ = self.all(), _sum(found.folder)
        same = next((each for each in known if each.sha256 == sum_), None)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        live = same or Generation(max((each.number for each in known), default=0) + 1, found.profile, sum_, at)
        try:
            if same is None:
                self._copy(found.folder, self._folder / str(live.number))
            kept = [*known, *([] if same else [live])]
            dropped = [each for each in kept[:-MOST] if each.number != live.number]
            self._write([each for each in kept if each not in dropped], live.number)
            for each in dropped:
                shutil.rmtree(self._folder / str(each.number), ignore_errors=True)
        except OSError as error:
            raise SynapticError(f"cannot keep what was applied in {self._folder}: {os_reason(error)}", hint="is the disk full?") from error
        return live

    def _copy(self, folder: Path, to: Path) -> None:
        draft = to.with_name(f".{to.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(to, ignore_errors=True)  # one that no index knows: its writing broke off
        shutil.copytree(folder, draft, symlinks=True)
        draft.rename(to)

    def _write(self, known: list[Generation], live: int) -> None:
        own = [{name: value for name, value in dataclasses.asdict(each).items() if name != "is_live"} for each in known]
        write_whole(self._folder / "index.json", json.dumps({"live": live, "generations": own}, indent=1))


def gone(before: Rendering | None, now: Rendering) -> dict[str, list[str]]:
    """By node: the files that it was given before, and is not given now, as they are called there."""
    kept = {*now.installed()}
    lost: dict[str, list[str]] = {}
    for node, path in before.installed() if before else ():
        if (node, path) not in kept:
            lost.setdefault(node, []).append(path)
    return lost


def _sum(folder: Path) -> str:
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
