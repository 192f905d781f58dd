"""Bodies that are nested deeply, wherever: answered, or refused by what is wrong with them; never a failure of ours."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.conftest import turns
from tests.world import World

DEPTHS = (110, 235, 260, 480)


def lists(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


def objects(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"type": "object", "properties": value} if depth % 2 else {"content": value}
    return value


def parts(depth: int) -> Any:
    """Content parts inside content parts: two levels of JSON each."""
    value: Any = [{"type": "text", "text": "x"}]
    for _ in range(depth // 2):
        value = [{"type": "tool_result", "tool_use_id": "a", "content": value}]
    return value


CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
MODELS = {"openai": "gpt-4o-mini", "claude": "claude-haiku-4-5", "auto": "auto"}


def bodies(depth: int) -> list[tuple[str, dict[str, Any]]]:
    """Each endpoint, with what is deep in each place that has no form of its own."""
    found = []
    for make in (lists, objects, parts):
        deep = make(depth)
        tool = {"name": "look", "description": "d", "parameters": {"type": "object", "properties": deep}}
        found += [
            (CHAT, {"messages": [{"role": "user", "content": deep}]}),
            (CHAT, {"messages": [*turns("Hello"), {"role": "assistant", "content": deep}, *turns("more")]}),
            (CHAT, {"messages": turns("Hello"), "tools": [{"type": "function", "function": tool}]}),
            (CHAT, {"messages": turns("Hello"), "metadata": deep}),
            (CHAT, {"messages": turns("Hello"), "response_format": deep}),
            (MESSAGES, {"messages": [{"role": "user", "content": deep}], "max_tokens": 9}),
            (MESSAGES, {"messages": turns("Hello"), "system": deep, "max_tokens": 9}),
            (
                MESSAGES,
                {"messages": turns("Hello"), "max_tokens": 9, "tools": [{"name": "a", "input_schema": deep}]},
            ),
            (RESPONSES, {"input": deep}),
            (RESPONSES, {"input": [{"role": "user", "content": deep}]}),
            ("/v1/embeddings", {"input": deep}),
            ("/v1/estimate", {"messages": [{"role": "user", "content": deep}]}),
            ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": deep}]}),
            ("/v1/feedback", {"request_id": deep, "rating": 1}),
            ("/v1/messages/batches", {"requests": [{"custom_id": "a", "params": deep}]}),
        ]
    return found


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("model", MODELS)
def test_no_depth_is_a_failure_of_ours(
    world: World, raw_post: Callable[..., tuple[int, Any]], model: str, depth: int
) -> None:
    failed = []
    for path, body in bodies(depth):
        name = "text-embedding-3-small" if path == "/v1/embeddings" else MODELS[model]
        headers = {"x-purser-compress": "on"} if path == CHAT else {}
        status, told = raw_post(path, {"model": name, **body}, headers)
        if status >= 500 or (depth > 250 and status != 400):
            failed.append((path, sorted(body), status, told))
    assert failed == []


@pytest.fixture
def raw_post(world: World) -> Callable[..., tuple[int, Any]]:
    """POST a body that json cannot write: by hand, without recursion."""
    import json
    import urllib.error
    import urllib.request

    import orjson

    def write(value: Any) -> bytes:
        try:
            return orjson.dumps(value)
        except TypeError:
            pass
        if isinstance(value, list):
            return b"[" + b",".join(map(write, value)) + b"]"
        inner = (orjson.dumps(name) + b":" + write(one) for name, one in value.items())
        return b"{" + b",".join(inner) + b"}"

    def post(path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{world.stack.base_url}{path}",
            data=write(body),
            headers={"x-api-key": world.acme.key, "content-type": "application/json", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, None
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]["message"]

    return post
