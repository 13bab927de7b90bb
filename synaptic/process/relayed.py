"""Whether and how a coordinator is started with relays to its workers."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synaptic.endpoint import Endpoint
from synaptic.process.relay import NOTICE

if TYPE_CHECKING:
    from synaptic.process.relay_trust import Trust

RELAY = "synaptic.process.relay"


@dataclasses.dataclass(frozen=True)
class Relayed:
    """
    `is_wanted` by the user. Workers that `known` names are reached over TLS, which takes a relay in any case; `own` is
    the certificate that we show them. `notice`: seconds without a sign of life after which a worker is lost.
    """

    is_wanted: bool = False
    notice: float = NOTICE
    known: Path | None = None
    own: Path | None = None

    def trust(self) -> Mapping[Endpoint, Trust]:
        """Reads a file. Raises UsageError for one that does not fit."""
        from synaptic.process.relay_trust import known

        return known(self.known, self.own)

    def is_for(self, workers: Sequence[Endpoint]) -> bool:
        return bool(workers) and (self.is_wanted or not self.trust().keys().isdisjoint(workers))

    def words(self, log: Path) -> tuple[str, ...]:
        """What stands before the words of a coordinator that writes `log`."""
        files = {"--known": self.known, "--cert": self.own, "--figures": log.with_suffix(".traffic")}
        named = [word for option, path in files.items() if path for word in (option, str(path.absolute()))]
        return (sys.executable, "-m", RELAY, "to-workers", "--notice", f"{self.notice:g}", *named, "--")
