"""Owns `/v1/models` in both wire formats: a call with an `anthropic-version` header gets Anthropic's.

Invariant: what is listed can be called.
"""

import time
from typing import Any

from aiohttp import web

from llm.sandbox.catalog import CREATED, OFFERS, is_offered, offer_of
from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import ANTHROPIC, Exchange


async def list_models(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/models."""
    names = [name for name, offer in OFFERS.items() if exchange.kind != ANTHROPIC or offer.owner == ANTHROPIC]
    data = [_model(exchange, name) for name in names]
    if exchange.kind == ANTHROPIC:
        edges = {"first_id": names[0], "last_id": names[-1]}
        return await exchange.answer({"data": data, "has_more": False} | edges)
    return await exchange.answer({"object": "list", "data": data})


async def retrieve_model(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/models/{id}."""
    name = exchange.request.match_info["model"]
    if not is_offered(name):
        message = f"model: {name}" if exchange.kind == ANTHROPIC else f"The model '{name}' does not exist"
        raise ProviderError(
            404, message, param="model", code=None if exchange.kind == ANTHROPIC else "model_not_found"
        )
    return await exchange.answer(_model(exchange, name))


def _model(exchange: Exchange, name: str) -> dict[str, Any]:
    if exchange.kind == ANTHROPIC:
        created_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(CREATED))
        return {
            "type": "model",
            "id": name,
            "display_name": name.replace("-", " ").title(),
            "created_at": created_at,
        }
    return {"id": name, "object": "model", "created": CREATED, "owned_by": offer_of(name).owner}
