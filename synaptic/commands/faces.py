"""What the commands that open a face to the network have in common: finding it, and what is said of its address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synaptic.endpoint import Endpoint
from synaptic.errors import SynapticError

if TYPE_CHECKING:
    from synaptic.services import Face
    from synaptic.session import Session


def face_of(session: Session, name: str, command: str) -> Face:
    if face := session.faces.get(name):
        return face
    raise SynapticError(f"there is no {name} in this program", hint=f"try: synaptic {command}")


def address_of(session: Session, name: str) -> str | None:
    """Where a face listens, if it does."""
    face = session.faces.get(name)
    return face.url if face else None


def remarks(address: str, host: str, port: int, risk: str) -> str | None:
    """On the address that a face got, where `host` and `port` were asked for. `risk`: of being reached by other machines."""
    sentences = []
    if port and not address.endswith(f":{port}"):
        sentences.append(f"port {port} is taken; this is the next free one")
    if not Endpoint(host, port).is_loopback:
        sentences.append(f"warning: other machines can reach it, {risk}")
    return "; ".join(sentences) or None
