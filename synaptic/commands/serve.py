"""serve: Ollama's API and OpenAI's, in front of everything that can answer here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from synaptic.commands.faces import face_of, remarks
from synaptic.commands.grammar import Choice
from synaptic.commands.registry import registry
from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.results import Note

if TYPE_CHECKING:
    from synaptic.session import Session

HOST, PORT = "127.0.0.1", 11435
NAME = "gateway"
RISK = "and neither prompts nor the key are encrypted"
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
    face = face_of(session, NAME, "serve")
    if what == "off":
        was_on = face.url is not None
        await face.close()
        return Note("the gateway is off" if was_on else "the gateway is off already", {"url": None})
    if face.url:
        return Note(f"the gateway is on already: {face.url}", {"url": face.url}, hint="serve off ends it")
    session.gateway_key = _key(session, key_env)
    if session.gateway_key is None and not Endpoint(host, port).is_loopback:
        raise UsageError(f"on {host} other machines could use every model here", hint="add --key-env NAME, a variable that holds a key")
    session.is_shell = True  # it lasts as one does: what it starts is guarded, and ends with it
    session.know_backends()
    session.rounds.start()
    url = await face.start(host=host, port=port)
    text = f"gateway: {url} · Ollama's API there, OpenAI's at {url}/v1"
    return Note(text, {"url": url, "openai": f"{url}/v1"}, hint=remarks(url, host, port, RISK), holds=True)


def _key(session: Session, name: str | None) -> str | None:
    if name is None:
        return None
    key = session.environment.variables.get(name, "").strip()
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable():
        raise UsageError(f"{name} holds no key of {SHORTEST_KEY} characters or more", hint=f'try: export {name}="$(openssl rand -hex 24)"')
    return key
