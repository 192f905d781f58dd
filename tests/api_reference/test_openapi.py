"""The API's reference says what the API does: every route, every method, and answers as described."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from django.urls import URLPattern
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from config.site.reference import openapi_json
from llm.urls import urlpatterns
from tests.world import World

REFERENCE: dict[str, Any] = json.loads(openapi_json())
OPERATIONS = [
    (method, path, operation)
    for path, item in REFERENCE["paths"].items()
    if path.startswith("/v1/")
    for method, operation in item.items()
]
QUESTION = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "How do I activate my new card?"}],
}


def test_it_works() -> None:
    validate(REFERENCE)


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert REFERENCE["info"]["version"] == project["version"]


@pytest.mark.parametrize("route", urlpatterns, ids=lambda route: str(route.pattern))
def test_every_route_is_documented_with_each_of_its_methods(route: URLPattern) -> None:
    path = "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(route.pattern))
    view = route.callback.view_class  # type: ignore[attr-defined]
    methods = {name for name in view.http_method_names if name != "options" and hasattr(view, name)}
    assert set(REFERENCE["paths"][path]) == methods


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=lambda part: str(part)[:40])
def test_every_operation_has_a_name_a_tag_an_answer_and_its_errors(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    assert operation["operationId"]
    assert operation["summary"]
    assert operation["tags"][0] in {tag["name"] for tag in REFERENCE["tags"]}
    assert {"200", "201"} & set(operation["responses"])
    assert {"401", "403", "500", "503"} <= set(operation["responses"])
    envelope = "AnthropicError" if path.startswith("/v1/messages") else "OpenAIError"
    for status, response in operation["responses"].items():
        if int(status) >= 400:
            schema = response["content"]["application/json"]["schema"]
            assert schema == {"$ref": f"#/components/schemas/{envelope}"}
    assert ("requestBody" in operation) == (method == "post" and not path.endswith("/cancel"))


def test_operations_are_named_apart() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(names) == len(set(names))


def test_either_way_to_send_a_key_is_documented() -> None:
    assert REFERENCE["security"] == [{"bearer": []}, {"x-api-key": []}]


def test_the_views_are_still_awaited() -> None:
    from asyncio import iscoroutinefunction

    assert all(iscoroutinefunction(route.callback) for route in urlpatterns)


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings", "/v1/completions"]
)
def test_an_example_is_answered_as_described(world: World, path: str) -> None:
    operation = REFERENCE["paths"][path]["post"]
    status, body = world.request("POST", path, _example(operation))
    assert status == 200, body
    _check(body, operation, status)


@pytest.mark.parametrize("path", ["/v1/estimate", "/v1/messages/count_tokens", "/v1/messages/batches"])
def test_other_examples_are_answered_as_described(world: World, path: str) -> None:
    operation = REFERENCE["paths"][path]["post"]
    status, body = world.request("POST", path, _example(operation))
    assert status == 200, body
    _check(body, operation, status)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/v1/files",
        "/v1/batches",
        "/v1/messages/batches",
        "/v1/usage",
        "/v1/budgets",
        "/v1/reports",
        "/v1/statements",
        "/v1/chargebacks",
        "/v1/split-rules",
    ],
)
def test_what_is_read_is_as_described(world: World, path: str) -> None:
    world.request("POST", "/v1/chat/completions", QUESTION)
    status, body = world.get(path)
    assert status == 200, body
    _check(body, REFERENCE["paths"][path]["get"], status)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {"model": "gpt-4o-mini"}, 400),
        ("/v1/chat/completions", {**QUESTION, "model": "unpriced-model"}, 402),
        ("/v1/chat/completions", {**QUESTION, "model": "no-such-model"}, 404),
        ("/v1/messages", {"model": "claude-haiku-4-5"}, 400),
        ("/v1/messages", {**QUESTION, "model": "no-such-model"}, 404),
    ],
)
def test_an_error_is_as_described(world: World, path: str, body: dict[str, Any], status: int) -> None:
    answered, error = world.request("POST", path, body)
    assert answered == status
    _check(error, REFERENCE["paths"][path]["post"], status)


def test_a_wrong_key_is_told_in_either_envelope(world: World) -> None:
    for path in ("/v1/chat/completions", "/v1/messages"):
        status, error = world.request("POST", path, QUESTION, headers={"authorization": "Bearer nobody's"})
        assert status == 401
        _check(error, REFERENCE["paths"][path]["post"], status)


def test_the_pages_are_served(world: World) -> None:
    from tests.stack import LOCAL

    base = world.stack.base_url
    page = LOCAL.open(f"{base}/docs", timeout=10).read().decode()
    assert "/openapi.json" in page
    assert json.load(LOCAL.open(f"{base}/openapi.json", timeout=20)) == REFERENCE
    for asset in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        assert LOCAL.open(f"{base}{asset}", timeout=10).status == 200


def _example(operation: dict[str, Any]) -> Any:
    return operation["requestBody"]["content"]["application/json"]["examples"]["Example"]["value"]


def _check(body: Any, operation: dict[str, Any], status: int) -> None:
    """The body satisfies the schema of its status."""
    schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": REFERENCE["components"]}).validate(body)
