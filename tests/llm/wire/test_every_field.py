"""Every field that an official SDK can send to one provider's API has its fate at the other's: here is the list.

Invariant: a field is translated, passed on under its name, let go because it changes nothing of the answer, or refused
by its name. A field that a new version of an SDK brings fails `test_no_field_of_the_sdks_is_missing` until it is here.
"""

from typing import Any

import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsBase as BetaMessageParams
from anthropic.types.message_create_params import MessageCreateParamsBase as MessageParams
from openai.types.chat.completion_create_params import CompletionCreateParamsBase as ChatParams
from openai.types.responses.response_create_params import ResponseCreateParamsBase as ResponseParams

from tests.llm.wire.fates import LET_GO, MARK, REFUSED, SCHEMA, USER, check

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
    ("parallel_tool_calls", False, LET_GO),  # without tools; with them see test_every_part.py
    ("prediction", {"type": "content", "content": "x"}, REFUSED),
    ("presence_penalty", 0, LET_GO),
    ("presence_penalty", 0.5, REFUSED),
    ("prompt_cache_key", "k", LET_GO),
    ("prompt_cache_options", {"ttl": "12h"}, LET_GO),
    ("prompt_cache_retention", "in_memory", LET_GO),
    ("prompt_cache_retention", "24h", LET_GO),
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
    ("tool_choice", "auto", LET_GO),  # without tools; with them see test_every_part.py
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
    ("verbosity", "low", LET_GO),
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
    ("tool_choice", {"type": "auto"}, LET_GO),  # without tools; with them see test_every_part.py
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
    ("context_management", {"edits": []}, LET_GO),
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
    ("context_management", [{"type": "compaction"}], LET_GO),
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
    ("prompt_cache_options", {"ttl": "12h"}, LET_GO),
    ("prompt_cache_retention", "in_memory", LET_GO),
    ("prompt_cache_retention", "24h", LET_GO),
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

TABLES = {
    "chat to messages": CHAT_TO_MESSAGES,
    "messages to chat": MESSAGES_TO_CHAT,
    "responses to messages": RESPONSES_TO_MESSAGES,
}
SDK_FIELDS = {
    "chat to messages": (ChatParams,),
    "messages to chat": (MessageParams, BetaMessageParams),
    "responses to messages": (ResponseParams,),
}
HEADERS = {"betas"}  # the SDK sends it as a header


@pytest.mark.parametrize(
    ("way", "field", "value", "expected"),
    [
        pytest.param(way, *case, id=f"{way}-{case[0]}-{case[1]}"[:70])
        for way, table in TABLES.items()
        for case in table
    ],
)
def test_a_field_has_its_fate(way: str, field: str, value: Any, expected: Any) -> None:
    check(way, field, {field: value}, expected)


@pytest.mark.parametrize("way", TABLES)
def test_no_field_of_the_sdks_is_missing(way: str) -> None:
    known = {field for field, _, _ in TABLES[way]}
    documented = {name for kind in SDK_FIELDS[way] for name in kind.__annotations__} - HEADERS
    assert documented - known == set()
