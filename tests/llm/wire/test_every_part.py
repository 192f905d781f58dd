"""Every field of a message, a tool and a choice that an official SDK can send has its fate, like those of the body.

Invariant: a field that a new version of an SDK brings fails `test_the_parts_of_a_request_have_their_fate` until it is here.
"""

from typing import Any

import pytest
from anthropic.types import (
    DocumentBlockParam,
    ImageBlockParam,
    TextBlockParam,
    ToolParam,
    ToolResultBlockParam,
    ToolUseBlockParam,
)
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionToolMessageParam,
    ChatCompletionUserMessageParam,
)
from openai.types.responses import FunctionToolParam, ResponseFunctionToolCallParam
from openai.types.shared_params import FunctionDefinition

from llm.wire import Untranslatable
from tests.llm.wire.fates import MARK, REFUSED, SCHEMA, USER, check, sent

FUNCTION = {"name": "f", "parameters": SCHEMA}
CHAT_TOOL = {"type": "function", "function": FUNCTION}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
USE = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
PNG = {"type": "base64", "media_type": "image/png", "data": "AA=="}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "AA=="}

# (way, the SDK's type, a whole value, where it stands, what else its fields may be and whether that is refused)
PARTS: dict[str, tuple[str, Any, dict[str, Any], Any, dict[str, tuple[Any, bool]]]] = {
    "a user's message of chat": (
        "chat to messages",
        ChatCompletionUserMessageParam,
        {"role": "user", "content": "Hi"},
        lambda part: {"messages": [part]},
        {"name": ("bob", True)},
    ),
    "an answer of chat": (
        "chat to messages",
        ChatCompletionAssistantMessageParam,
        CALLED,
        lambda part: {"messages": [USER, part]},
        {
            "audio": ({"id": "a"}, True),
            "function_call": ({"name": "f", "arguments": "{}"}, True),
            "name": ("bob", True),
            "refusal": ("No.", False),
        },
    ),
    "a tool's result of chat": (
        "chat to messages",
        ChatCompletionToolMessageParam,
        {"role": "tool", "tool_call_id": "1", "content": "x"},
        lambda part: {"messages": [USER, CALLED, part]},
        {},
    ),
    "a function of chat": (
        "chat to messages",
        FunctionDefinition,
        FUNCTION,
        lambda part: {"tools": [{"type": "function", "function": part}]},
        {"description": ("d", False), "strict": (True, False)},
    ),
    "a text of messages": (
        "messages to chat",
        TextBlockParam,
        {"type": "text", "text": "Hi"},
        lambda part: {"messages": [{"role": "user", "content": [part]}]},
        {"cache_control": (MARK, False), "citations": ([], False)},
    ),
    "an image of messages": (
        "messages to chat",
        ImageBlockParam,
        {"type": "image", "source": PNG},
        lambda part: {"messages": [{"role": "user", "content": [part]}]},
        {"cache_control": (MARK, False), "transformations": ({"oversized_image": "error"}, True)},
    ),
    "a document of messages": (
        "messages to chat",
        DocumentBlockParam,
        {"type": "document", "source": PDF},
        lambda part: {"messages": [{"role": "user", "content": [part]}]},
        {
            "cache_control": (MARK, False),
            "citations": ({"enabled": True}, True),
            "context": ("c", True),
            "title": ("t", False),
        },
    ),
    "a call of messages": (
        "messages to chat",
        ToolUseBlockParam,
        USE,
        lambda part: {"messages": [USER, {"role": "assistant", "content": [part]}]},
        {
            "cache_control": (MARK, False),
            "caller": ({"type": "direct"}, False),
            "toolset_name": ("t", True),
        },
    ),
    "a result of messages": (
        "messages to chat",
        ToolResultBlockParam,
        {"type": "tool_result", "tool_use_id": "1", "content": "x"},
        lambda part: {
            "messages": [USER, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [part]}]
        },
        {"cache_control": (MARK, False), "is_error": (True, False), "toolset_name": ("t", True)},
    ),
    "a tool of messages": (
        "messages to chat",
        ToolParam,
        {"name": "f", "input_schema": SCHEMA},
        lambda part: {"tools": [part]},
        {
            "allowed_callers": (["code_execution_20250825"], True),
            "cache_control": (MARK, False),
            "defer_loading": (True, False),
            "description": ("d", False),
            "eager_input_streaming": (True, False),
            "input_examples": ([{}], True),
            "strict": (True, False),
            "type": ("custom", False),
        },
    ),
    "a function of responses": (
        "responses to messages",
        FunctionToolParam,
        {"type": "function", **FUNCTION},
        lambda part: {"tools": [part]},
        {
            "allowed_callers": (["code"], True),
            "async": (True, True),
            "defer_loading": (True, False),
            "description": ("d", False),
            "output_schema": (SCHEMA, True),
            "strict": (True, False),
        },
    ),
    "a call of responses": (
        "responses to messages",
        ResponseFunctionToolCallParam,
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        lambda part: {"input": [{"role": "user", "content": "Hi"}, part]},
        {
            "async": (True, True),
            "caller": ({"type": "program"}, True),
            "id": ("fc_1", False),
            "namespace": ("n", False),
            "status": ("completed", False),
        },
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_the_parts_of_a_request_have_their_fate(name: str) -> None:
    way, kind, least, place, others = PARTS[name]
    assert set(kind.__annotations__) - least.keys() - others.keys() == set()
    assert sent(way, **place(least))
    for field, (value, is_refused) in others.items():
        facts = place({**least, field: value})
        if not is_refused:
            assert sent(way, **facts), field
            continue
        with pytest.raises(Untranslatable) as caught:
            sent(way, **facts)
        assert field in str(caught.value.param)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, REFUSED),
        ({"tool_choice": {"type": "custom", "custom": {"name": "f"}}}, REFUSED),
    ],
)
def test_how_a_tool_is_chosen(facts: dict[str, Any], expected: Any) -> None:
    if expected is REFUSED:
        check("chat to messages", "tool_choice", {"tools": [CHAT_TOOL], **facts}, REFUSED)
    else:
        assert sent("chat to messages", tools=[CHAT_TOOL], **facts).get("tool_choice") == expected


@pytest.mark.parametrize(
    ("thinking", "param"),
    [
        ({"type": "between_tools"}, "thinking.type"),
        ({"type": "disabled", "something_new": 1}, "thinking.something_new"),
    ],
)
def test_thinking_that_nobody_knows_is_refused(thinking: dict[str, Any], param: str) -> None:
    check("messages to chat", param, {"thinking": thinking}, REFUSED)
