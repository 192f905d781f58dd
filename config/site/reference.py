"""`/openapi.json` and `/docs`: the API's reference, generated from the code of the gateway's views.

Invariant: the description of an endpoint is at its view. Here is only what applies to all of them.
"""

import functools
from typing import Any, Final

import orjson
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings

DESCRIPTION: Final = """
One endpoint for OpenAI's and Anthropic's APIs that keeps the books. A body that an official SDK builds is
accepted; fields that are not named here are passed through. The headers of every answer and the `purser` object in its
body say how the call was handled and what it cost; so does the last event of a stream. Errors of paths under
`/v1/messages` have Anthropic's envelope, all others have OpenAI's.
""".strip()
TAGS: Final = [
    {"name": "Completions", "description": "Calls that a model answers; each is one row of the ledger."},
    {"name": "Stored chat completions", "description": "Those sent with `store: true`; for 30 days."},
    {"name": "Models", "description": "The models that this key may use."},
    {"name": "Files and batches", "description": "Work that may wait, at the provider's price for batches."},
    {
        "name": "Deferred calls",
        "description": "Single calls that may wait, until a deadline, in the cheapest lane that makes it.",
    },
    {"name": "Figures", "description": "The tenant's own usage, budgets, receipts and estimates."},
    {"name": "Health", "description": "For load balancers, operators and Prometheus; they need no key."},
]
SECURITY: Final[dict[str, Any]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of the tenant, as OpenAI's SDK sends it.",
    },
    "x-api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "The same key, as Anthropic's SDK sends it.",
    },
}
_STATES: Final = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"enum": ["ok", "degraded", "unready"]},
        "dependencies": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def _probe(name: str, summary: str, answers: dict[str, tuple[str, str, dict[str, Any]]]) -> dict[str, Any]:
    """A path that answers only GET; `answers` has description, content type and schema by status."""
    responses = {
        status: {"description": description, "content": {content_type: {"schema": schema}}}
        for status, (description, content_type, schema) in answers.items()
    }
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "tags": ["Health"],
            "security": [],
            "responses": responses | {"405": {"description": "Another method."}},
        }
    }


HEALTH: Final = {
    "/healthz": _probe(
        "isAlive",
        "This process answers",
        {
            "200": (
                "It does.",
                "application/json",
                {"type": "object", "properties": {"status": {"const": "ok"}}},
            )
        },
    ),
    "/readyz": _probe(
        "isReady",
        "This process can serve calls; each dependency by name, without the METRICS_TOKEN only if none is set",
        {
            "200": ("It can. `degraded`: with less than it should have.", "application/json", _STATES),
            "503": ("It cannot.", "application/json", _STATES),
        },
    ),
    "/metrics": _probe(
        "readMetrics",
        "Figures for Prometheus",
        {
            "200": ("In its text format.", "text/plain", {"type": "string"}),
            "401": ("Without the token, where METRICS_TOKEN is set.", "text/plain", {"type": "string"}),
        },
    ),
}


async def openapi(request: HttpRequest) -> HttpResponse:
    """The OpenAPI 3.1 description of everything under /v1, and of the probes."""
    return HttpResponse(openapi_json(), content_type="application/json")


def docs(request: HttpRequest) -> HttpResponse:
    """The same for people."""
    return render(request, "docs.html")


@functools.cache
def openapi_json() -> bytes:
    # 3.1, because its schemas are JSON Schema: what pydantic writes is valid as it stands
    with patched_settings({"OAS_VERSION": "3.1.0"}):
        generator = SchemaGenerator(urlconf="llm.urls")  # type: ignore[no-untyped-call]
        schema = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    schema["info"]["description"] = DESCRIPTION
    schema["tags"] = TAGS
    schema["paths"] |= HEALTH
    schema["security"] = [{name: []} for name in SECURITY]
    schema.setdefault("components", {})["securitySchemes"] = SECURITY
    return orjson.dumps(schema)
