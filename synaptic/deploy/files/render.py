"""A profile → a folder of files, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from synaptic import __version__
from synaptic.deploy.files.builds import Build
from synaptic.deploy.files.builds import placed as programs
from synaptic.deploy.files.compose import compose_files
from synaptic.deploy.files.file import File
from synaptic.deploy.files.node_files import node_files
from synaptic.deploy.files.nohup import nohup_files
from synaptic.deploy.files.playbook import playbook_files
from synaptic.deploy.files.tls import behind, fronts
from synaptic.deploy.profile.profile import Profile
from synaptic.deploy.services.service import Service
from synaptic.deploy.services.services import services_of
from synaptic.errors import UsageError, unwritten
from synaptic.planning.placement import Placement

TARGETS = ("systemd", "ansible", "compose", "nohup")
MANIFEST = "manifest.json"  # its presence says that a folder is ours to replace


def render(profile: Profile, target: str, placed: Placement | None = None, builds: Sequence[Build] = ()) -> dict[str, File]:
    """Every file by its path. The same profile, plan and builds give the same bytes. Raises UsageError."""
    services = services_of(behind(profile), placed)
    services += _fronts(profile, services, target)
    nodes = _nodes(profile, services)
    files: dict[str, File] = {}
    given = {name: programs(profile, profile.nodes[name], own, builds) for name, own in nodes.items()}
    for name, own in nodes.items():
        node = profile.nodes[name]
        if target in ("systemd", "ansible"):
            where = f"files/{name}" if target == "ansible" else name
            files |= {f"{where}/{path}": file for path, file in node_files(profile, node, own, given[name]).items()}
        else:
            made = nohup_files(profile, own) if target == "nohup" else compose_files(profile, own)
            files |= {f"{name}/{path}": file for path, file in made.items()}
    if target == "ansible":
        files |= playbook_files(profile, services, given)
    return files | {MANIFEST: File(_manifest(profile, target, placed, files))}


def write(files: Mapping[str, File], out: Path) -> None:
    """
    All of them, in place of an earlier rendering. Raises UsageError (there is something else) or SynapticError.

    They are written beside it first: who looks sees the old folder, for a moment none, or the new one.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"{out} is no folder", hint="name a new one")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise UsageError(f"{out} holds something that was not rendered", hint="name a new or an empty folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            _fill(fresh, files)
            _swap(fresh, out)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise unwritten(out, error) from error


def _fronts(profile: Profile, services: Sequence[Service], target: str) -> list[Service]:
    found = fronts(profile, services)
    if found and target not in ("systemd", "ansible"):
        raise UsageError(f"TLS by a front is not there for {target}", hint="--target systemd or ansible, or a server that speaks TLS")
    return found


def _nodes(profile: Profile, services: Sequence[Service]) -> dict[str, list[Service]]:
    """Those that serve or are watched, in the profile's order."""
    watched = {node.name for node in profile.having("monitoring")}
    served = {name: [service for service in services if service.node.name == name] for name in profile.nodes}
    return {name: own for name, own in served.items() if own or name in watched}


def _manifest(profile: Profile, target: str, placed: Placement | None, files: Mapping[str, File]) -> str:
    document = {
        "profile": profile.label,
        "sha256": profile.sha256,
        "document": json.loads(profile.canonical),
        "target": target,
        "version": __version__,
        "plan": placed.why if placed else None,
        "files": {path: hashlib.sha256(file.text.encode()).hexdigest() for path, file in sorted(files.items())},
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _fill(folder: Path, files: Mapping[str, File]) -> None:
    folder.chmod(0o755)
    for path, file in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(file.text, encoding="utf-8")
        place.chmod(file.mode)


def _swap(fresh: Path, out: Path) -> None:
    old = fresh.with_name(f"{fresh.name}.old")
    if out.is_dir():
        out.rename(old)
    try:
        fresh.rename(out)
    except OSError:
        with contextlib.suppress(OSError):  # somebody else's came meanwhile: then that one stays
            old.rename(out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
