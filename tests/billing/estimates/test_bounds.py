"""A hold is never less than the bill: random requests to both providers, through the running product.

The sandbox honours `max_tokens`, and bills by its own count.
"""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.books import Books
from tests.world import World

MODELS = ("gpt-4o-mini", "gpt-4o", "gpt-4.1-nano", "claude-haiku-4-5")
text = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=400).filter(str.strip)
question = st.one_of(
    text,
    st.integers(1, 300).map("Write {} words about the sea.".format),
    st.integers(1, 4000).map("é漢字🙂 ".__mul__),
)
tool = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"\A[a-z_]{1,20}\Z"),
        "description": st.text(st.characters(codec="ascii", exclude_categories=("Cc",)), max_size=100),
        "parameters": st.dictionaries(
            st.from_regex(r"\A[a-z]{1,12}\Z"), st.sampled_from(("string", "number", "boolean")), max_size=4
        ),
    }
)
requests = st.fixed_dictionaries(
    {
        "model": st.sampled_from(MODELS),
        "system": st.one_of(st.just(""), text),
        "turns": st.lists(question, min_size=1, max_size=5),
        "max_tokens": st.one_of(st.none(), st.integers(1, 600)),
        "n": st.integers(1, 3),
        "stream": st.booleans(),
        "tools": st.lists(tool, max_size=3, unique_by=lambda one: one["name"]),
        "is_messages": st.booleans(),
    }
)

TOOL = {"name": "look_up", "description": "", "parameters": {"name": "string"}}
PLAIN = {
    "model": "claude-haiku-4-5",
    "system": "",
    "turns": ["A"],
    "max_tokens": 1,
    "n": 1,
    "stream": False,
    "tools": [],
    "is_messages": False,
}


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=requests)
@example({**PLAIN, "is_messages": True})
@example({**PLAIN, "turns": ["é漢字🙂 " * 2000]})  # written to the provider's cache: a saving below zero
@example({**PLAIN, "tools": [TOOL]})  # a tool of one protocol, counted by the rules of the other
def test_a_hold_is_never_less_than_the_bill_for_any_request(
    world: World, books: Books, request: dict[str, Any]
) -> None:
    path, body = _messages(request) if request["is_messages"] else _chat(request)
    status, answer = _ask(world, path, body)
    assert status == 200, answer
    attempt = next(
        one for one in books.settled(world.acme.id) if str(one.request_id) == answer["purser"]["request_id"]
    )
    row = books.row(attempt.request_id)
    assert (attempt.state, row.usage_source) == ("captured", "provider")
    assert row.billed_cost <= attempt.hold_usd
    assert sum(books.meters(row).values()) <= attempt.hold_tokens


def _ask(world: World, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Ask past the caches; of a stream the last event with our facts is the answer."""
    import urllib.error
    import urllib.request

    request = urllib.request.Request(
        f"{world.stack.base_url}{path}",
        data=json.dumps(body).encode(),
        headers={
            "authorization": f"Bearer {world.acme.key}",
            "content-type": "application/json",
            "x-purser-cache": "off",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            raw = response.read()
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    if not body.get("stream"):
        return 200, json.loads(raw)
    events = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith(b"data: {")]
    return 200, next(event for event in reversed(events) if "purser" in event)


def _schema(tool: dict[str, Any]) -> dict[str, Any]:
    properties = {name: {"type": kind} for name, kind in tool["parameters"].items()}
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _turns(request: dict[str, Any]) -> list[dict[str, str]]:
    """Questions and answers in turn; a question comes last."""
    turns = request["turns"] if len(request["turns"]) % 2 else request["turns"][1:]
    return [
        {"role": "assistant" if number % 2 else "user", "content": turn} for number, turn in enumerate(turns)
    ]


def _chat(request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {
        "model": request["model"],
        "stream": request["stream"],
        "messages": _turns(request),
    }
    if request["system"]:
        body["messages"].insert(0, {"role": "system", "content": request["system"]})
    if request["max_tokens"]:
        body["max_tokens"] = request["max_tokens"]
    if request["n"] > 1 and not request["model"].startswith("claude"):
        body["n"] = request["n"]
    if request["tools"]:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": one["name"],
                    "description": one["description"],
                    "parameters": _schema(one),
                },
            }
            for one in request["tools"]
        ]
    return "/v1/chat/completions", body


def _messages(request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {
        "model": request["model"],
        "stream": request["stream"],
        "messages": _turns(request),
        "max_tokens": request["max_tokens"] or 300,
    }
    if request["system"]:
        body["system"] = request["system"]
    if request["tools"]:
        body["tools"] = [
            {"name": one["name"], "description": one["description"], "input_schema": _schema(one)}
            for one in request["tools"]
        ]
    return "/v1/messages", body
