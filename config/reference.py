"""`/openapi.json` and `/docs`: the API's reference, generated from the code of the gateway's views."""

import functools

import orjson
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from drf_spectacular.generators import SchemaGenerator


async def openapi(request: HttpRequest) -> HttpResponse:
    """The OpenAPI 3 description of everything under /v1."""
    return HttpResponse(_schema(), content_type="application/json")


def docs(request: HttpRequest) -> HttpResponse:
    """The same for people."""
    return render(request, "docs.html")


@functools.cache
def _schema() -> bytes:
    generator = SchemaGenerator(urlconf="llm.urls")
    return orjson.dumps(generator.get_schema(request=None, public=True))
