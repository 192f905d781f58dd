"""The addresses of Azure's classic deployments: they answer as OpenAI's API does.

Invariant: the deployment in the path is the model, the body's `model` is ignored; the key comes in `api-key` alone, and a request
without `api-version` finds nothing.
"""

from aiohttp import web

from llm.sandbox import models
from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import Exchange, Handler
from llm.sandbox.openai import chat, completions, embeddings


def of_deployment(handler: Handler) -> Handler:
    async def answer(exchange: Exchange) -> web.StreamResponse:
        _check(exchange.request)
        exchange.take({**exchange.body, "model": exchange.request.match_info["deployment"]})
        return await handler(exchange)

    return answer


async def list_models(exchange: Exchange) -> web.StreamResponse:
    """GET /openai/models."""
    _check(exchange.request)
    return await models.list_models(exchange)


def _check(request: web.Request) -> None:
    if not request.headers.get("api-key"):
        raise ProviderError(401, "Access denied due to missing subscription key.", code="401")
    if not request.query.get("api-version"):
        raise ProviderError(404, "Resource not found", code="404")


DEPLOYMENT = "/openai/deployments/{deployment}"
ROUTES: tuple[tuple[str, Handler], ...] = (
    (f"{DEPLOYMENT}/chat/completions", of_deployment(chat.create_chat)),
    (f"{DEPLOYMENT}/completions", of_deployment(completions.create_completion)),
    (f"{DEPLOYMENT}/embeddings", of_deployment(embeddings.create_embeddings)),
)
