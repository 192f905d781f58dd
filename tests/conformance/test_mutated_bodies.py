"""Bodies that are nearly right: valid ones in which some value, at any depth, is missing or something else.

Invariant: whatever is sent, the answer is one that the API's reference names, and never our or the provider's fault.
`MUTATIONS` and `MUTATIONS_SEED` ask for more of them, or others.
"""

import copy
import json
import os
import random
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from config.site.reference import openapi_json
from tests.world import World

REFERENCE: dict[str, Any] = json.loads(openapi_json())
MUTATIONS = int(os.environ.get("MUTATIONS", "20"))
SEED = int(os.environ.get("MUTATIONS_SEED", "4"))

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
PNG = f"data:image/png;base64,{PIXEL}"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
MESSAGES: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 2000,
    "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Hi"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "abc"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"city": "B"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "18"}]},
            ],
        },
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "stop_sequences": ["x"],
    "temperature": 1,
    "top_p": 0.99,
    "metadata": {"user_id": "u"},
    "service_tier": "auto",
}
VALID: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Hi there"},
                    {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                    {"type": "file", "file": {"file_data": "AAAA", "filename": "a.pdf"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"city":"B"}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "18"},
        ],
        "tools": [{"type": "function", "function": FUNCTION}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": SCHEMA, "strict": True},
        },
        "max_tokens": 20,
        "temperature": 0.5,
        "n": 1,
        "stop": ["x"],
        "logit_bias": {"1": 2},
        "metadata": {"a": "b"},
        "user": "u",
        "service_tier": "auto",
        "reasoning_effort": "low",
        "parallel_tool_calls": True,
        "logprobs": True,
        "top_logprobs": 2,
    },
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": {name: MESSAGES[name] for name in ("model", "system", "messages", "tools")},
    "/v1/messages/batches": {
        "requests": [
            {
                "custom_id": "a",
                "params": {
                    "model": "claude-haiku-4-5",
                    "max_tokens": 5,
                    "messages": MESSAGES["messages"][:1],
                },
            }
        ]
    },
    "/v1/responses": {
        "model": "gpt-4o-mini",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Hi"},
                    {"type": "input_image", "image_url": PNG, "detail": "auto"},
                    {"type": "input_file", "file_data": "AAAA", "filename": "a"},
                ],
            },
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "x"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "18"},
        ],
        "instructions": "Be kind.",
        "tools": [{"type": "function", **FUNCTION}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}},
        "reasoning": {"effort": "low", "summary": "auto"},
        "max_output_tokens": 40,
        "temperature": 1,
        "metadata": {"a": "b"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "truncation": "auto",
        "user": "u",
        "parallel_tool_calls": True,
    },
    "/v1/completions": {
        "model": "gpt-4o-mini",
        "prompt": ["a", [1, 2]],
        "max_tokens": 9,
        "n": 1,
        "stop": "x",
        "logprobs": 1,
        "echo": True,
        "suffix": "s",
        "user": "u",
        "best_of": 1,
        "logit_bias": {"1": 1},
    },
    "/v1/embeddings": {
        "model": "text-embedding-3-small",
        "input": ["a", "b"],
        "dimensions": 20,
        "encoding_format": "base64",
        "user": "u",
    },
    "/v1/estimate": {
        "volume": 3,
        "calls": [{"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}],
    },
    "/v1/batches": {
        "input_file_id": "f",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"a": "b"},
    },
    "/v1/feedback": {"request_id": "01a1fe3e-7615-75f3-b4d6-816f46b2caca", "rating": 1, "reason": "r"},
    "/v1/budgets/raise-requests": {
        "scope": "user",
        "value": "alice",
        "unit": "usd",
        "period": "day",
        "amount": "1",
        "until": "2099-12-31T00:00:00Z",
        "reason": "r",
    },
}
ANY_CHAT_MODEL = ("/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens", "/v1/responses")
STREAMS = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions")
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**25, 1.5, 1e308, -1e-9),
    *("", "x", "a\x00b", "\u00e9" * 50, "1", "9" * 400, "u" * 9000, "auto", "function"),
    *([], [None], [[]], [{}], ["x"], [1], {}, {"type": "x"}, {"a": {}}, {"type": None}, {"text": 1}),
]


@pytest.mark.parametrize("path", VALID)
def test_it_works(world: World, path: str) -> None:
    documented = REFERENCE["paths"][path]["post"]["responses"]
    chance = random.Random(f"{SEED} {path}")
    client = httpx2.Client(base_url=world.stack.base_url, timeout=60, trust_env=False)
    for _ in range(MUTATIONS):
        body = mutated(path, chance)
        headers = {
            "authorization": f"Bearer {world.acme.key}",
            "x-purser-cache": chance.choice(["off", "on"]),
        }
        answer = client.post(path, json=body, headers=headers)
        status, told = answer.status_code, answer.text
        assert str(status) in documented, (status, told, json.dumps(body))
        assert status < 500, (status, told, json.dumps(body))
        assert '"error":{' not in told.partition("\n\ndata:")[2], (told[-1000:], json.dumps(body))


def mutated(path: str, chance: random.Random) -> dict[str, Any]:
    """A body with up to two odd values, for a model of either provider, with fewer options than there are."""
    body = copy.deepcopy(VALID[path])
    if path in ANY_CHAT_MODEL:
        body["model"] = chance.choice(["gpt-4o-mini", "claude-haiku-4-5", "auto"])
    for name in [name for name in body if name not in ("model", "messages", "input", "prompt", "max_tokens")]:
        if chance.random() < 0.4:
            del body[name]
    for _ in range(chance.randint(0, 2)):
        places = [place for place in places_in(body) if place and place != ("model",)]
        if not places:
            break
        *way, last = chance.choice(places)
        inside: Any = body
        for step in way:
            inside = inside[step]
        if chance.random() < 0.15:
            del inside[last]
        else:
            inside[last] = copy.deepcopy(chance.choice(ODD))
    if path in STREAMS and chance.random() < 0.3:
        body["stream"] = True
    return body


def places_in(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield at
    if isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places_in(inner, (*at, step))
