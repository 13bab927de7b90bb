"""The servers of ours, for the program to put into its session. Nothing is imported before one is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synaptic.services import Face
    from synaptic.session import Session


def faces(session: Session) -> dict[str, Face]:
    from synaptic.web.dashboard import Dashboard
    from synaptic.web.gateway.face import GatewayFace

    return {"dashboard": Dashboard(session), "gateway": GatewayFace(session)}
