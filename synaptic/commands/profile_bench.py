"""A hardware profile with what a measurement taught: its next version, with the figure's source and date."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

from synaptic.bench.calibrated import calibrated
from synaptic.bench.result import Result
from synaptic.deploy.profile.document import Document
from synaptic.deploy.profile.profile import NodeClass, Profile
from synaptic.deploy.profile.write import measured_number
from synaptic.errors import UsageError

if TYPE_CHECKING:
    from synaptic.session import Session

HERE = "this machine"


def bumped_by(session: Session, bench: str, profile: Profile, document: Document, version: str) -> str:
    """The text of the next version. Reads files. Raises UsageError where the measurement is of something else."""
    from synaptic.bench.kept import read
    from synaptic.commands.bench_report import file_of

    return with_measured(read(file_of(session, bench)), profile, document, version)


def with_measured(result: Result, profile: Profile, document: Document, version: str) -> str:
    import yaml

    if result.profile is None or result.profile.name != profile.name:
        measured = result.profile.name if result.profile else "no profile"
        raise UsageError(f"{result.id} was measured on {measured}, not on {profile.name}", hint=f"try: bench run --profile {profile.name}")
    found = calibrated(result)
    kind = _kind(profile, has_head=HERE in found.machines)
    fresh = copy.deepcopy(document.values)
    fresh["version"] = version
    date = time.strftime("%Y-%m-%d", time.gmtime(result.at))
    for place in _places(fresh, kind):
        place["mem_bw_gbs"] = measured_number(place.get("mem_bw_gbs"), round(found.bandwidth / 1e9, 1), found.source, date)
    return yaml.safe_dump(fresh, sort_keys=False, allow_unicode=True, width=120)


def _kind(profile: Profile, *, has_head: bool) -> NodeClass:
    nodes = [*profile.having("llama_rpc"), *(profile.having("llama_head") if has_head else ())]
    kinds = {node.kind.name: node.kind for node in nodes}
    if len(kinds) != 1:
        raise UsageError(
            f"machines of {len(kinds)} kinds took part: which of them was how fast one measurement cannot tell",
            hint="measure each kind alone, or: profile probe",
        )
    return next(iter(kinds.values()))


def _places(values: dict[str, Any], kind: NodeClass) -> list[dict[str, Any]]:
    """Where the bandwidth stands that planning takes: of its accelerators, or of its processor."""
    written: dict[str, Any] = values["node_classes"][kind.name]
    usable = {device.id for device in kind.accelerators}
    devices = [device for device in written.get("devices") or [] if device.get("id") in usable]
    return devices or [written.setdefault("cpu", {})]
