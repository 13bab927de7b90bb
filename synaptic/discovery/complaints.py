"""What a service that is asked again and again does wrong, told once and not at every try."""

from __future__ import annotations

import logging

from synaptic.errors import SynapticError
from synaptic.events import Bus, Noticed

_MOST = 5
_logger = logging.getLogger(__name__)


class Complaints:
    """The first failure after it worked is told, nothing is told twice, and five things at most. The log has them all."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._is_out = False
        self._told: set[str] = set()

    def failed(self, error: SynapticError) -> None:
        sentence = f"{error}; {error.hint}" if error.hint else str(error)
        _logger.info("%s", sentence)
        if not self._is_out and sentence not in self._told and len(self._told) < _MOST:
            self._told.add(sentence)
            self._bus.publish(Noticed(text=sentence, attention=True))
        self._is_out = True

    def worked(self) -> None:
        self._is_out = False
