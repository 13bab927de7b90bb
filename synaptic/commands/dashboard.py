"""dashboard: the page that shows all of it live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from synaptic.commands.faces import face_of, remarks
from synaptic.commands.grammar import Choice
from synaptic.commands.registry import registry
from synaptic.errors import SynapticError
from synaptic.results import Note

if TYPE_CHECKING:
    from synaptic.session import Session

HOST, PORT = "127.0.0.1", 8080
NAME = "dashboard"
RISK = "nothing is encrypted, and whoever has the token can run commands here"


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
    face = face_of(session, NAME, "dashboard")
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
    return Note(f"dashboard: {url}", data, hint=remarks(face.url or "", host, port, RISK) if is_new else None, holds=is_new)
