"""`GET /v1/models` and `/v1/models/{id}`: the models this key may use."""

from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse

from llm.errors import ModelNotFound
from llm.providers.target import Target
from llm.views import schemas
from llm.views.base import AsyncAPIView, api_of, json_response
from llm.views.documented import OF_EVERY_CALL, operation
from tenants.errors import Api


class Models(AsyncAPIView):
    """The models this key may ask for, in OpenAI's shape, or Anthropic's for a client that sends its version header."""

    @operation(
        "listModels",
        "The models this key may use",
        tag="Models",
        answers=schemas.ModelList,
        errors=OF_EVERY_CALL,
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        allowed = [target for target in self.snapshot.catalog if self.principal.may_use(target.model)]
        rows = [_describe(request, target) for target in sorted(allowed, key=lambda target: target.model)]
        if api_of(request) == Api.ANTHROPIC:
            first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
            return json_response({"data": rows, "has_more": False, "first_id": first, "last_id": last})
        return json_response({"object": "list", "data": rows})


class Model(AsyncAPIView):
    """One model, or 404 where the key may not use it."""

    @operation("getModel", "One model", tag="Models", answers=schemas.ModelObject)
    async def get(self, request: HttpRequest, model: str) -> HttpResponse:
        if not self.principal.may_use(model):
            raise ModelNotFound(f"The model '{model}' does not exist here.", param="model")
        return json_response(_describe(request, self.snapshot.catalog.find(model)))


def _describe(request: HttpRequest, target: Target) -> dict[str, Any]:
    if api_of(request) == Api.ANTHROPIC:
        created = datetime.fromtimestamp(target.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"type": "model", "id": target.model, "display_name": target.model, "created_at": created}
    return {"id": target.model, "object": "model", "created": target.created_at, "owned_by": target.provider}
