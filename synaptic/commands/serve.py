"""serve: Ollama's API and OpenAI's, in front of everything that can answer here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import Choice
from synaptic.commands.registry import registry
from synaptic.errors import SynapticError, UsageError
from synaptic.results import Note

if TYPE_CHECKING:
    from synaptic.services import Face
    from synaptic.session import Session

HOST, PORT = "127.0.0.1", 11435
NAME = "gateway"
SHORTEST_KEY = 16  # characters


@registry.command("serve", group="answers")
async def serve(
    session: Session,
    what: Annotated[str, Choice("on", "off")] = "on",
    *,
    host: str = HOST,
    port: int = PORT,
    key_env: str | None = None,
) -> Note:
    """Let any program that speaks Ollama's API or OpenAI's use every model here, whatever its size.

    It listens on this machine only, on the next free port from 11435; another --host needs a key. --key-env names the
    environment variable that holds the key, which clients then send as `Authorization: Bearer …`. In a shell it serves in the
    background until `serve off`. Models that it loads write up to 4 answers at once where memory allows, or as many as
    `config set parallel` says; who comes later waits for a turn. Answers outlive a lost worker without asking anyone,
    unless `failover` is off.

        serve
        serve --port 8000 --key-env GATEWAY_KEY
        OLLAMA_HOST=127.0.0.1:11435 ollama run demo
        serve off

    See also: model list, status, dashboard
    """
    face = _face(session)
    if what == "off":
        was_on = face.url is not None
        await face.close()
        return Note("the gateway is off" if was_on else "the gateway is off already", {"url": None})
    if face.url:
        return Note(f"the gateway is on already: {face.url}", {"url": face.url}, hint="serve off ends it")
    session.gateway_key = _key(session, key_env)
    is_local = host in ("localhost", "::1") or host.startswith("127.")
    if not is_local and session.gateway_key is None:
        raise UsageError(f"on {host} other machines could use every model here", hint="add --key-env NAME, a variable that holds a key")
    session.is_shell = True  # it lasts as one does: what it starts is guarded, and ends with it
    session.know_backends()
    session.rounds.start()
    url = await face.start(host=host, port=port)
    text = f"gateway: {url} · Ollama's API there, OpenAI's at {url}/v1"
    return Note(text, {"url": url, "openai": f"{url}/v1"}, hint=_hint(url, port, is_local=is_local), holds=True)


def _face(session: Session) -> Face:
    if face := session.faces.get(NAME):
        return face
    raise SynapticError("there is no gateway in this program", hint="try: synaptic serve")


def _key(session: Session, name: str | None) -> str | None:
    if name is None:
        return None
    key = session.environment.variables.get(name, "").strip()
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable():
        raise UsageError(f"{name} holds no key of {SHORTEST_KEY} characters or more", hint=f'try: export {name}="$(openssl rand -hex 24)"')
    return key


def _hint(url: str, port: int, *, is_local: bool) -> str | None:
    sentences = []
    if port and not url.endswith(f":{port}"):
        sentences.append(f"port {port} is taken; this is the next free one")
    if not is_local:
        sentences.append("warning: other machines can reach it, and neither prompts nor the key are encrypted")
    return "; ".join(sentences) or None
