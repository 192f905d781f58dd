"""What the real providers refuse, the sandbox refuses in their words."""

from typing import Any

import anthropic
import openai
import pytest

from tests.llm.sandbox.conftest import Provider

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
HI = {"role": "user", "content": "Hi"}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
USED = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]}
CALLED = {
    "role": "assistant",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}


def result(identifier: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": identifier, "content": "x"}]}


def said(*blocks: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def image(media_type: str) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": PIXEL}}


MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages: at least one message is required"),
    ({"messages": [said(text(""), text("x"))]}, "text content blocks must be non-empty"),
    ({"messages": [said(text(" \n"))]}, "text content blocks must contain non-whitespace text"),
    ({"system": [text("")]}, "system: text content blocks must be non-empty"),
    (
        {"messages": [HI, {"role": "assistant", "content": ""}, HI]},
        "all messages must have non-empty content except",
    ),
    ({"messages": [{"role": "user", "content": ""}]}, "all messages must have non-empty content except"),
    ({"messages": [HI, {"role": "assistant", "content": "So "}]}, "cannot end with trailing whitespace"),
    ({"messages": [HI, result("t1")]}, "unexpected `tool_use_id` found in `tool_result` blocks: t1"),
    ({"messages": [HI, USED, result("t2")]}, "unexpected `tool_use_id` found"),
    (
        {"messages": [HI, USED, HI]},
        "`tool_use` ids were found without `tool_result` blocks immediately after: t1",
    ),
    ({"messages": [HI, USED]}, "`tool_use` ids were found without"),
    (
        {
            "messages": [
                HI,
                said({"type": "tool_use", "id": "t1", "name": "f", "input": "x"}, role="assistant"),
                result("t1"),
            ]
        },
        "tool_use.input: Input should be a valid dictionary",
    ),
    ({"messages": [said(image("image/jpg"))]}, "Input should be 'image/jpeg', 'image/png'"),
    (
        {"messages": [HI, said({"type": "thinking", "thinking": "t"}, text("x"), role="assistant"), HI]},
        "signature: Field required",
    ),
    (
        {"max_tokens": 64_001},
        "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens",
    ),
    ({"temperature": 1.5}, "temperature"),
    ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools.0.custom.name: String should match pattern"),
    ({"tools": [TOOL, TOOL]}, "Tool names must be unique"),
    ({"tool_choice": {"type": "any"}}, "may only be specified while providing tools"),
    (
        {"model": "claude-fable-5-1", "tools": [TOOL], "tool_choice": {"type": "any"}},
        "forced tool use is not supported",
    ),
    (
        {
            "tools": [TOOL],
            "tool_choice": {"type": "any"},
            "max_tokens": 2000,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        },
        "Thinking may not be enabled when tool_choice forces tool use",
    ),
    (
        {"messages": [{"role": "user", "content": "word " * 160_000}], "max_tokens": 20_000},
        "exceed context limit",
    ),
    ({"messages": [{"role": "user", "content": "word " * 220_000}]}, "prompt is too long: "),
]
CHATS: list[tuple[dict[str, Any], str]] = [
    ({"n": 129}, "Expected a value <= 128"),
    (
        {"max_tokens": 16_385},
        "max_tokens is too large: 16385. This model supports at most 16384 completion tokens",
    ),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "at the same time is not supported"),
    ({"model": "gpt-5-mini", "max_tokens": 5}, "Use 'max_completion_tokens' instead"),
    ({"model": "o3", "temperature": 0.2}, "Only the default (1) value is supported"),
    ({"temperature": 2.5}, "Expected a value <= 2"),
    ({"stream_options": {"include_usage": True}}, "only allowed when 'stream' is enabled"),
    ({"tools": []}, "empty array"),
    ({"tool_choice": "required"}, "only allowed when 'tools' are specified"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "string does not match pattern"),
    ({"stop": list("abcde")}, "Expected an array with maximum length 4"),
    ({"messages": [HI, {"role": "assistant", "content": None}]}, "expected a string, got null"),
    ({"messages": [{"role": "user", "content": []}]}, "empty array"),
    (
        {"messages": [HI, {"role": "tool", "tool_call_id": "c1", "content": "x"}]},
        "must be a response to a preceeding message",
    ),
    ({"messages": [HI, CALLED, HI]}, "must be followed by tool messages responding to each 'tool_call_id'"),
    ({"messages": [HI, CALLED]}, "did not have response messages: c1"),
    ({"response_format": {"type": "json_object"}}, "must contain the word 'json'"),
    (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "data:text/plain;base64,aGk="}}],
                }
            ]
        },
        "Invalid MIME type",
    ),
    (
        {"messages": [{"role": "user", "content": "word " * 120_000}], "max_tokens": 16_000},
        "in the completion",
    ),
    ({"messages": [{"role": "user", "content": "word " * 130_000}]}, "your messages resulted in"),
]
RESPONSES: list[tuple[dict[str, Any], str]] = [
    ({"max_output_tokens": 15}, "Expected a value >= 16"),
    ({"max_output_tokens": 16_385}, "max_output_tokens is too large"),
    (
        {"input": [{"type": "function_call_output", "call_id": "c1", "output": "x"}]},
        "No tool call found for function call output with call_id c1",
    ),
    (
        {"input": [{"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}]},
        "No tool output found for function call c1",
    ),
]


@pytest.mark.parametrize(("odd", "words"), MESSAGES)
def test_messages(provider: Provider, odd: dict[str, Any], words: str) -> None:
    body: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 20, "messages": [HI], **odd}
    with pytest.raises(anthropic.BadRequestError) as caught:
        provider.anthropic().post("/v1/messages", body=body, cast_to=object)
    assert words in caught.value.body["error"]["message"]
    assert provider.only_call()["billed"] == {}


@pytest.mark.parametrize(("odd", "words"), CHATS)
def test_chats(provider: Provider, odd: dict[str, Any], words: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        provider.openai().chat.completions.create(**{"model": "gpt-4o-mini", "messages": [HI], **odd})
    assert words in caught.value.message
    assert provider.only_call()["billed"] == {}


@pytest.mark.parametrize(("odd", "words"), RESPONSES)
def test_responses(provider: Provider, odd: dict[str, Any], words: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        provider.openai().responses.create(**{"model": "gpt-4o-mini", "input": "Hi", **odd})
    assert words in caught.value.message


def test_what_they_take_is_taken(provider: Provider) -> None:
    client = provider.anthropic()
    turns = [HI, USED, result("t1"), {"role": "assistant", "content": "So"}]
    assert client.messages.create(
        model="claude-haiku-4-5", max_tokens=20, messages=turns, tools=[TOOL]
    ).content
    chat = [
        HI,
        CALLED,
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        {"role": "user", "content": ""},
    ]
    assert (
        provider.openai()
        .chat.completions.create(model="gpt-4o-mini", messages=chat, tools=[FUNCTION])
        .choices
    )
