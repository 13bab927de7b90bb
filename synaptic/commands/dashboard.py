"""dashboard: the page that shows all of it live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import Choice
from synaptic.commands.registry import registry
from synaptic.errors import SynapticError
from synaptic.results import Note

if TYPE_CHECKING:
    from synaptic.services import Face
    from synaptic.session import Session

HOST, PORT = "127.0.0.1", 8080
NAME = "dashboard"


@registry.command("dashboard", group="look")
async def dashboard(
    session: Session, what: Annotated[str, Choice("on", "off", "url")] = "on", *, host: str = HOST, port: int = PORT
) -> Note:
    """Show the cluster, its answers and its logs live in a browser, and print the address to open there.

    It listens on this machine only, on the next free port from 8080. The address holds a token: whoever has it can run
    commands here. Another --host lets other machines in, unencrypted; `ssh -L 8080:127.0.0.1:8080 HOST` is safer.

        dashboard
        dashboard on --port 9000
        dashboard url
        dashboard off

    See also: status, metrics, logs
    """
    face = _face(session)
    if what == "off":
        was_on = face.url is not None
        await face.close()
        return Note("dashboard off" if was_on else "the dashboard is off already", {"url": None})
    if what == "url" and face.url is None:
        raise SynapticError("the dashboard is off", hint="try: dashboard")
    is_new = face.url is None
    if is_new:
        session.know_backends()
        session.rounds.start()
    url = await face.start(host=host, port=port)
    data: dict[str, object] = {"url": url, "address": face.url}
    return Note(f"dashboard: {url}", data, hint=_hint(face.url or "", host, port) if is_new else None, holds=is_new)


def address_of(session: Session, name: str) -> str | None:
    """Where a face listens, if it does."""
    face = session.faces.get(name)
    return face.url if face else None


def _face(session: Session) -> Face:
    if face := session.faces.get(NAME):
        return face
    raise SynapticError("there is no dashboard in this program", hint="try: synaptic dashboard")


def _hint(address: str, host: str, port: int) -> str | None:
    sentences = []
    if port and not address.endswith(f":{port}"):
        sentences.append(f"port {port} is taken; this is the next free one")
    if not (host in ("localhost", "::1") or host.startswith("127.")):
        sentences.append("warning: other machines can reach it, nothing is encrypted, and whoever has the token can run commands here")
    return "; ".join(sentences) or None
