"""Every field that an official SDK can send to one provider's API has its fate at the other's: here is the list.

Invariant: a field is translated, passed on under its name, let go because it changes nothing of the answer, or refused
by its name. A field that a new version of an SDK brings fails `test_no_field_of_the_sdks_is_missing` until it is here.
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
from anthropic.types.beta.message_create_params import MessageCreateParamsBase as BetaMessageParams
from anthropic.types.message_create_params import MessageCreateParamsBase as MessageParams
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionToolMessageParam,
    ChatCompletionUserMessageParam,
)
from openai.types.chat.completion_create_params import CompletionCreateParamsBase as ChatParams
from openai.types.responses import FunctionToolParam, ResponseFunctionToolCallParam
from openai.types.responses.response_create_params import ResponseCreateParamsBase as ResponseParams
from openai.types.shared_params import FunctionDefinition

from llm.wire import WIRE_FORMATS, Untranslatable, prepare

REFUSED = object()  # by its name
LET_GO = object()  # nothing of it is sent, and nothing of the answer changes
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
USER = {"role": "user", "content": "Hi"}
MARK = {"type": "ephemeral"}

Case = tuple[str, Any, Any]  # a field, its value, and what of the other's body it becomes

CHAT_TO_MESSAGES: list[Case] = [
    ("messages", [USER], {"messages": [USER]}),
    ("model", "m", {"model": "upstream"}),
    ("audio", {"voice": "alloy", "format": "wav"}, REFUSED),
    ("frequency_penalty", 0, LET_GO),
    ("frequency_penalty", 0.5, REFUSED),
    ("function_call", "none", REFUSED),
    ("functions", [], LET_GO),
    ("functions", [{"name": "f"}], REFUSED),
    ("logit_bias", {}, LET_GO),
    ("logit_bias", {"1": 5}, REFUSED),
    ("logprobs", False, LET_GO),
    ("logprobs", True, REFUSED),
    ("max_completion_tokens", 7, {"max_tokens": 7}),
    ("max_tokens", 7, {"max_tokens": 7}),
    ("metadata", {}, LET_GO),
    ("metadata", {"order": "1"}, LET_GO),  # the gateway stores it
    ("modalities", ["text"], LET_GO),
    ("modalities", ["text", "audio"], REFUSED),
    ("moderation", {"model": "omni"}, REFUSED),
    ("n", 1, LET_GO),
    ("n", 2, REFUSED),
    ("parallel_tool_calls", False, LET_GO),  # without tools; with them see TOOLS
    ("prediction", {"type": "content", "content": "x"}, REFUSED),
    ("presence_penalty", 0, LET_GO),
    ("presence_penalty", 0.5, REFUSED),
    ("prompt_cache_key", "k", LET_GO),
    ("prompt_cache_options", {"ttl": "12h"}, REFUSED),
    ("prompt_cache_retention", "in_memory", LET_GO),
    ("prompt_cache_retention", "24h", REFUSED),
    ("reasoning_effort", "minimal", {"output_config": {"effort": "low"}}),
    ("reasoning_effort", "high", {"output_config": {"effort": "high"}}),
    ("reasoning_effort", "none", {"thinking": {"type": "disabled"}}),
    ("reasoning_effort", "utmost", REFUSED),
    ("response_format", {"type": "text"}, LET_GO),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    ("safety_identifier", "u", {"metadata": {"user_id": "u"}}),
    ("seed", 1, REFUSED),
    ("service_tier", "auto", {"service_tier": "auto"}),
    ("service_tier", "default", {"service_tier": "standard_only"}),
    ("service_tier", "flex", REFUSED),
    ("service_tier", "priority", REFUSED),
    ("stop", "END", {"stop_sequences": ["END"]}),
    ("stop", ["A", "B"], {"stop_sequences": ["A", "B"]}),
    ("store", False, LET_GO),
    ("store", True, LET_GO),  # the gateway does
    ("stream", True, {"stream": True}),
    ("stream_options", {"include_usage": True}, LET_GO),  # usage always comes; the way back shows it or not
    ("temperature", 0.5, {"temperature": 0.5}),
    ("temperature", 1.5, REFUSED),
    ("tool_choice", "auto", LET_GO),  # without tools; with them see TOOLS
    ("tool_choice", "required", REFUSED),
    ("tools", [], LET_GO),
    (
        "tools",
        [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
        {"tools": [{"name": "f", "input_schema": SCHEMA}]},
    ),
    ("top_logprobs", 0, LET_GO),
    ("top_logprobs", 3, REFUSED),
    ("top_p", 0.5, {"top_p": 0.5}),
    ("user", "u", {"metadata": {"user_id": "u"}}),
    ("verbosity", "medium", LET_GO),
    ("verbosity", "low", REFUSED),
    ("web_search_options", {}, REFUSED),
    ("top_k", 5, {"top_k": 5}),  # what is Anthropic's own passes
    ("thinking", {"type": "adaptive"}, {"thinking": {"type": "adaptive"}}),
    ("something_new", 1, REFUSED),
]

MESSAGES_TO_CHAT: list[Case] = [
    ("messages", [USER], {"messages": [USER]}),
    ("model", "m", {"model": "upstream"}),
    ("max_tokens", 7, {"max_tokens": 7}),
    ("cache_control", MARK, LET_GO),  # OpenAI caches by itself
    ("container", "c", REFUSED),
    ("diagnostics", {"previous_message_id": "m"}, REFUSED),
    ("inference_geo", "us", REFUSED),
    ("metadata", {"user_id": "u"}, {"user": "u"}),
    ("output_config", {"effort": "high"}, {"reasoning_effort": "high"}),
    (
        "output_config",
        {"format": {"type": "json_schema", "schema": SCHEMA}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    ("service_tier", "auto", {"service_tier": "auto"}),
    ("service_tier", "standard_only", {"service_tier": "default"}),
    ("service_tier", "other", REFUSED),
    ("speed", "standard", LET_GO),
    ("speed", "fast", REFUSED),
    ("stop_sequences", ["A"], {"stop": ["A"]}),
    ("stop_sequences", list("abcde"), REFUSED),
    ("stream", True, {"stream": True}),
    ("system", "S", {"messages": [{"role": "system", "content": "S"}, USER]}),
    ("temperature", 0.5, {"temperature": 0.5}),
    ("thinking", {"type": "disabled"}, LET_GO),
    ("thinking", {"type": "adaptive", "display": "omitted"}, LET_GO),
    ("tool_choice", {"type": "auto"}, LET_GO),  # without tools; with them see TOOLS
    ("tool_choice", {"type": "any"}, REFUSED),
    ("tools", [], LET_GO),
    (
        "tools",
        [{"name": "f", "input_schema": SCHEMA}],
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
    ),
    ("top_k", 5, REFUSED),
    ("top_p", 0.5, {"top_p": 0.5}),
    ("user_profile_id", "p", REFUSED),
    ("workspace_id", "w", REFUSED),
    ("billing_policy", {}, REFUSED),
    ("compaction", {}, REFUSED),
    ("context_management", {}, REFUSED),
    ("fallback_credit_token", "t", REFUSED),
    ("fallbacks", [], REFUSED),
    ("mcp_servers", [], REFUSED),
    ("output_format", {"type": "json_schema", "schema": SCHEMA}, REFUSED),
    ("thread", {"type": "create"}, REFUSED),
    ("something_new", 1, REFUSED),
]

RESPONSES_TO_MESSAGES: list[Case] = [
    ("input", "Hi", {"messages": [USER]}),
    ("model", "m", {"model": "upstream"}),
    ("access_programs", ["p"], REFUSED),
    ("background", False, LET_GO),
    ("background", True, REFUSED),
    ("background_options", {}, REFUSED),
    ("context_management", [], REFUSED),
    ("conversation", "c", REFUSED),
    ("image", {}, REFUSED),
    ("include", [], LET_GO),
    ("include", ["reasoning.encrypted_content"], LET_GO),  # only the model that wrote it could read it
    ("include", ["message.output_text.logprobs"], REFUSED),
    ("instructions", "S", {"system": "S"}),
    ("max_output_tokens", 7, {"max_tokens": 7}),
    ("max_tool_calls", 1, REFUSED),
    ("metadata", {"order": "1"}, LET_GO),  # the answer has it again
    ("moderation", {}, REFUSED),
    ("parallel_tool_calls", False, LET_GO),
    ("previous_response_id", "r", REFUSED),
    ("prompt", {"id": "p"}, REFUSED),
    ("prompt_cache_key", "k", LET_GO),
    ("prompt_cache_options", {"ttl": "12h"}, REFUSED),
    ("prompt_cache_retention", "in_memory", LET_GO),
    ("prompt_cache_retention", "24h", REFUSED),
    ("reasoning", {"effort": "high", "summary": "auto"}, {"output_config": {"effort": "high"}}),
    ("safety_identifier", "u", {"metadata": {"user_id": "u"}}),
    ("service_tier", "auto", {"service_tier": "auto"}),
    ("service_tier", "flex", REFUSED),
    ("store", False, LET_GO),
    ("store", True, REFUSED),
    ("stream", True, {"stream": True}),
    ("stream_options", {"include_obfuscation": False}, LET_GO),
    ("temperature", 0.5, {"temperature": 0.5}),
    ("temperature", 1.5, REFUSED),
    ("text", {"format": {"type": "text"}, "verbosity": "medium"}, LET_GO),
    (
        "text",
        {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    ("tool_choice", "auto", LET_GO),
    ("tool_choice", "required", REFUSED),
    (
        "tools",
        [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": False}],
        {"tools": [{"name": "f", "input_schema": SCHEMA}]},
    ),
    ("top_logprobs", 0, LET_GO),
    ("top_logprobs", 3, REFUSED),
    ("top_p", 0.5, {"top_p": 0.5}),
    ("truncation", "disabled", LET_GO),
    ("truncation", "auto", REFUSED),
    ("user", "u", {"metadata": {"user_id": "u"}}),
    ("something_new", 1, REFUSED),
]

# client's protocol, the provider's kind, the least body, the table
TABLES = {
    "chat to messages": ("openai_chat", "anthropic", {"model": "m", "messages": [USER]}, CHAT_TO_MESSAGES),
    "messages to chat": (
        "anthropic_messages",
        "openai",
        {"model": "m", "messages": [USER], "max_tokens": 9},
        MESSAGES_TO_CHAT,
    ),
    "responses to messages": (
        "openai_responses",
        "anthropic",
        {"model": "m", "input": "Hi"},
        RESPONSES_TO_MESSAGES,
    ),
}
SDK_FIELDS = {
    "chat to messages": (ChatParams,),
    "messages to chat": (MessageParams, BetaMessageParams),
    "responses to messages": (ResponseParams,),
}
HEADERS = {"betas"}  # the SDK sends it as a header


def sent(way: str, **facts: Any) -> dict[str, Any]:
    """The body that goes out for the least request with these fields."""
    wire, kind, least, _ = TABLES[way]
    return prepare(
        WIRE_FORMATS[wire], {**least, **facts}, kind=kind, upstream_model="upstream", max_output_tokens=None
    ).body


def check(way: str, field: str, facts: dict[str, Any], expected: Any) -> None:
    if expected is REFUSED:
        with pytest.raises(Untranslatable) as caught:
            sent(way, **facts)
        assert str(caught.value.param).startswith(field)
        return
    outcome = {**sent(way), **(expected if expected is not LET_GO else {})}
    hidden = {"stream_options"} if expected == {"stream": True} else set()  # usage is asked for in streams
    assert {name: value for name, value in sent(way, **facts).items() if name not in hidden} == outcome


@pytest.mark.parametrize(
    ("way", "field", "value", "expected"),
    [
        pytest.param(way, *case, id=f"{way}-{case[0]}-{case[1]}"[:70])
        for way, (_, _, _, table) in TABLES.items()
        for case in table
    ],
)
def test_a_field_has_its_fate(way: str, field: str, value: Any, expected: Any) -> None:
    check(way, field, {field: value}, expected)


@pytest.mark.parametrize("way", TABLES)
def test_no_field_of_the_sdks_is_missing(way: str) -> None:
    known = {field for field, _, _ in TABLES[way][3]}
    documented = {name for kind in SDK_FIELDS[way] for name in kind.__annotations__} - HEADERS
    assert documented - known == set()


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
            "defer_loading": (True, True),
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
            "defer_loading": (True, True),
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
            "namespace": ("n", True),
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
        ({"type": "enabled", "budget_tokens": 1024}, "thinking.type"),
        ({"type": "between_tools"}, "thinking.type"),
        ({"type": "adaptive", "display": "summarized"}, "thinking.display"),
        ({"type": "disabled", "something_new": 1}, "thinking.something_new"),
    ],
)
def test_thinking_that_openai_does_not_show_is_refused(thinking: dict[str, Any], param: str) -> None:
    check("messages to chat", param, {"thinking": thinking}, REFUSED)
