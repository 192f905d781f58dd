"""Clients that write an address in their own way, ask for other protocols, or come from a browser."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from tests.api.conftest import fresh_question, turns
from tests.books import Books
from tests.world import World


def call(
    world: World, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """One raw call; `key` None sends the world's own."""
    connection = http.client.HTTPConnection(urlsplit(world.stack.base_url).netloc, timeout=30)
    sent = {"authorization": f"Bearer {world.acme.key}"} if key is None else {}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=None if body is None else json.dumps(body), headers=sent)
    response = connection.getresponse()
    told = response.read()
    connection.close()
    return response, told


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "//v1/chat/completions/",
        "/chat/completions",
        "/v1/v1/chat/completions?beta=true",
    ],
)
def test_it_works(world: World, books: Books, path: str) -> None:
    body = {"model": "gpt-4o-mini", "messages": turns(fresh_question())}
    response, told = call(world, "POST", path, body)
    assert response.status == 200, told
    assert books.row(json.loads(told)["purser"]["request_id"]).endpoint == "/v1/chat/completions"


def test_azures_sdk_is_answered(world: World, books: Books) -> None:
    client = openai.AzureOpenAI(
        azure_endpoint=world.stack.base_url, api_key=world.acme.key, api_version="2025-01-01", max_retries=0
    )
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=turns(fresh_question()))
    assert answer.choices[0].message.content
    body = {"messages": turns(fresh_question())}
    path = "/openai/deployments/gpt-4o-mini/chat/completions?api-version=2024-02-01"
    response, told = call(world, "POST", path, body, key="", api_key=world.acme.key)
    assert response.status == 200, told
    assert books.log(json.loads(told)["purser"]["request_id"]).model_asked == "gpt-4o-mini"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "path", ["/v1", "/v1/nothing", "/nothing", "/api/hello", "/v2/messages", "/openai/deployments/x"]
)
def test_a_program_that_missed_is_told_in_json(world: World, method: str, path: str) -> None:
    response, told = call(world, method, path)
    assert (response.status, response.headers["content-type"]) == (404, "application/json")
    assert json.loads(told)["error"]["code"] == "not_found"
    assert response.headers["x-should-retry"] == "false"
    response, told = call(world, method, path, anthropic_version="2023-06-01")
    assert json.loads(told)["type"] == "error"


def test_a_person_that_missed_gets_a_page(world: World) -> None:
    response, _ = call(world, "GET", "/nothing", accept="text/html,*/*;q=0.8")
    assert (response.status, response.headers.get_content_type()) == (404, "text/html")
    response, _ = call(world, "GET", "/", accept="text/html")
    assert (response.status, response.headers["location"]) == (302, "/admin/")


def test_a_probe_of_the_root_is_answered_at_once(world: World) -> None:
    response, told = call(world, "HEAD", "/", key="")
    assert (response.status, told) == (204, b"")
    response, _ = call(world, "HEAD", "/api/hello", key="")
    assert response.status == 404


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime", "/v1/chat/completions"])
def test_a_websocket_is_told_to_come_with_a_post(world: World, path: str) -> None:
    """426 is what Codex takes for "not here": with any other status it tries six times first."""
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec_websocket_version": "13",
        "sec_websocket_key": "B/8j5rk3ul6hx8ACr5FOTQ==",
    }
    response, told = call(world, "GET", path, key="", **upgrade)
    assert response.status == (404 if "realtime" in path else 426)
    assert json.loads(told)["error"]["message"]


def test_models_in_the_shape_that_the_client_asks_for(world: World) -> None:
    _, told = call(world, "GET", "/v1/models?limit=1000", anthropic_version="2023-06-01")
    listed = json.loads(told)
    assert not listed["has_more"]
    assert {one["type"] for one in listed["data"]} == {"model"}
    _, told = call(world, "GET", "/v1/models?limit=1000")
    assert json.loads(told)["object"] == "list"


def test_no_page_of_another_origin_is_let_in_unless_named(world: World) -> None:
    response, _ = call(world, "GET", "/v1/models", origin="https://chat.example")
    assert "access-control-allow-origin" not in response.headers
    response, _ = call(world, "OPTIONS", "/v1/models", origin="https://chat.example")
    assert response.status in (401, 405)
