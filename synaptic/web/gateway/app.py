"""
The gateway: Ollama's API and OpenAI's, on one port, in front of every route.

    any client → Host, Origin and key (web/security.py) → its API's words → one Request → the routing → its API's words
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from synaptic import __version__
from synaptic.errors import SynapticError
from synaptic.planning.slots import MOST_CHOSEN
from synaptic.results import Json
from synaptic.web.gateway import from_ollama, from_openai, to_ollama, to_openai
from synaptic.web.gateway.answers import Answers
from synaptic.web.gateway.body import Body, read
from synaptic.web.gateway.embedding import Embedding
from synaptic.web.gateway.listing import Listing, card
from synaptic.web.gateway.loading import PATIENCE, Loading
from synaptic.web.gateway.refusal import Refusal, UnknownModelError, UnsupportedError, refusal_of
from synaptic.web.gateway.routes import Routes
from synaptic.web.gateway.shape import dumped
from synaptic.web.gateway.show import show
from synaptic.web.gateway.to_ollama import nanoseconds
from synaptic.web.gateway.turns import Turns

if TYPE_CHECKING:
    from aiohttp import web

    from synaptic.session import Session

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LARGEST = 32 * 1024 * 1024  # bytes of a request
OLLAMA_VERSION = "0.13.5"  # whose API this is; clients ask for the least one they need
_logger = logging.getLogger(__name__)
_NOT_HERE = ("pull", "push", "create", "copy", "delete")


class Gateway:
    """`patience`: seconds for which a client waits for a model to load before it is told to come back."""

    def __init__(self, session: Session, *, patience: float = PATIENCE, turns: Turns | None = None) -> None:
        self._session = session
        session.most_slots = MOST_CHOSEN
        self._routes = Routes(session)
        self._loading = Loading(session, self._routes, patience)
        self._answers = Answers(session, self._loading, turns or Turns())
        self._listing = Listing(session)
        self._embedding = Embedding(session, self._routes)

    def application(self) -> web.Application:
        """Whoever serves it must have handlers cancelled when their client leaves, and `close` this before it stops."""
        from aiohttp import web

        @web.middleware
        async def worded(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._worded(request, handler)

        app = web.Application(client_max_size=LARGEST, middlewares=[worded])
        app.add_routes(
            [
                web.get("/", self._hello),
                web.get("/api/version", self._version),
                web.get("/api/tags", self._tags),
                web.get("/api/ps", self._ps),
                web.post("/api/show", self._show),
                web.post("/api/chat", self._chat),
                web.post("/api/generate", self._generate),
                web.post("/api/embed", self._embed),
                web.post("/api/embeddings", self._embed_one),
                web.get("/v1/models", self._cards),
                web.get("/v1/models/{name:.+}", self._card),
                web.post("/v1/chat/completions", self._chat_completion),
                web.post("/v1/completions", self._completion),
                web.post("/v1/embeddings", self._embeddings),
                *(web.route("*", f"/api/{verb}", self._not_here) for verb in _NOT_HERE),
            ]
        )
        return app

    async def close(self) -> None:
        """Answers on their way may end; what does not in time is cut, and says so."""
        await self._answers.close()
        await self._loading.close()
        self._routes.close()
        self._session.most_slots = 1

    async def _worded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every error in the words of the API that was asked."""
        from aiohttp import web

        try:
            return await handler(request)
        except SynapticError as error:
            return refusal_of(error, self._session.environment.home).response(request.path)
        except web.HTTPRequestEntityTooLarge:
            return Refusal(413, f"the request has more than {LARGEST >> 20} MiB").response(request.path)
        except web.HTTPException as error:
            what = f"{request.method} {request.path[:100]}" if error.status in (404, 405) else ""
            return Refusal(error.status, f"{error.reason.lower()}: {what}".rstrip(": ")).response(request.path)
        except ConnectionError:
            raise
        except Exception:  # one broken request is no reason to end the others
            _logger.exception("%s %s", request.method, request.path)
            return Refusal(500, "something went wrong here; the log knows more").response(request.path)

    async def _hello(self, request: web.Request) -> web.Response:
        """What Ollama's own client looks for."""
        from aiohttp import web

        return web.Response(text="Ollama is running")

    async def _version(self, request: web.Request) -> web.Response:
        return _answered({"version": OLLAMA_VERSION, "synaptic": __version__})

    async def _tags(self, request: web.Request) -> web.Response:
        return _answered(await self._listing.tags())

    async def _ps(self, request: web.Request) -> web.Response:
        return _answered(await self._listing.ps())

    async def _cards(self, request: web.Request) -> web.Response:
        return _answered(await self._listing.cards())

    async def _show(self, request: web.Request) -> web.Response:
        body = await read(request)
        name = await self._routes.named(body.text("model") or body.needed("name"))
        return _answered(await show(self._session, name))

    async def _card(self, request: web.Request) -> web.Response:
        name = await self._routes.named(request.match_info["name"])
        models = await self._listing.models()
        found = next((model for model in models if model.name == name), None)
        if found is None:
            raise UnknownModelError(f"model '{name}' cannot be read")
        return _answered(card(found))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = from_ollama.chat(await read(request))
        return await self._answers.answer(request, asked, to_ollama.ToChat(asked.model), _client(request))

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        asked = from_ollama.generate(await read(request))
        return await self._answers.answer(request, asked, to_ollama.ToGenerate(asked.model), _client(request))

    async def _chat_completion(self, request: web.Request) -> web.StreamResponse:
        asked = from_openai.chat(await read(request))
        shape = to_openai.ToChat(asked.model, has_usage=asked.has_usage)
        return await self._answers.answer(request, asked, shape, _client(request))

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        asked = from_openai.completion(await read(request))
        shape = to_openai.ToCompletion(asked.model, has_usage=asked.has_usage)
        return await self._answers.answer(request, asked, shape, _client(request))

    async def _embed(self, request: web.Request) -> web.Response:
        body = await read(request)
        made = await self._embedding.of(body)
        took: dict[str, Json] = {"total_duration": nanoseconds(made.seconds), "load_duration": 0, "prompt_eval_count": made.tokens}
        return _answered({"model": body.needed("model"), "embeddings": [*made.vectors], **took})

    async def _embed_one(self, request: web.Request) -> web.Response:
        """The older form: one text, one vector."""
        made = await self._embedding.of(await read(request), field="prompt")
        return _answered({"embedding": [*made.vectors[0]]})

    async def _embeddings(self, request: web.Request) -> web.Response:
        return _answered(await self._embeddings_of(await read(request)))

    async def _embeddings_of(self, body: Body) -> Json:
        packs = body.text("encoding_format") == "base64"  # what the official client asks for unless told otherwise
        made = await self._embedding.of(body)
        data: list[Json] = [
            {"object": "embedding", "index": place, "embedding": to_openai.packed(vector) if packs else [*vector]}
            for place, vector in enumerate(made.vectors)
        ]
        usage: Json = {"prompt_tokens": made.tokens, "total_tokens": made.tokens}
        return {"object": "list", "data": data, "model": body.needed("model"), "usage": usage}

    async def _not_here(self, request: web.Request) -> web.Response:
        raise UnsupportedError("models are not managed through the gateway; in the shell: model pull NAME, model list")


def _client(request: web.Request) -> str:
    """Whose turn it is: by key, where there is one, else by address."""
    return request.headers.get("Authorization") or request.remote or ""


def _answered(document: Json) -> web.Response:
    from aiohttp import web

    return web.Response(body=dumped(document), headers={"Content-Type": "application/json; charset=utf-8"})
