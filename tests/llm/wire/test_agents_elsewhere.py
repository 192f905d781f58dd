"""Coding agents on the other provider's models: hints are let go and named, tools keep their names, and the rest is refused."""

from typing import Any

import pytest

from llm.providers.kinds import KINDS
from llm.wire import WIRE_FORMATS, Exchange, Untranslatable, prepare
from llm.wire.translation.responses_to_messages import ResponsesToMessages

USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {}}
BASH = {"name": "Bash", "input_schema": SCHEMA}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
SHELL = {"type": "function", "name": "exec_command", "parameters": SCHEMA, "strict": False}


def claude_code(*, upstream: str = "gpt-5.2", **facts: Any) -> Exchange:
    """A request as Claude Code makes it, for an OpenAI model."""
    body = {
        "model": "m",
        "max_tokens": 32_000,
        "messages": [USER],
        "tools": [BASH, {**BASH, "name": "Deferred", "defer_loading": True}],
        "metadata": {"user_id": '{"device_id": "' + "f784" * 16 + '", "session_id": "s1"}'},
        "thinking": {"type": "enabled", "budget_tokens": 31_999, "display": "omitted"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "stream": True,
        **facts,
    }
    wire = WIRE_FORMATS["anthropic_messages"]
    return prepare(wire, body, kind=KINDS["openai"], upstream_model=upstream, max_output_tokens=None)


def codex(**facts: Any) -> Exchange:
    """A request as Codex makes it, for an Anthropic model."""
    body = {
        "model": "m",
        "input": [
            {"type": "message", **USER, "internal_chat_message_metadata_passthrough": {"turn_id": "t"}}
        ],
        "tools": [
            SHELL,
            {
                "type": "namespace",
                "name": "agents",
                "description": "Others.",
                "tools": [{**SHELL, "name": "spawn"}, {**SHELL, "name": "exec_command"}],
            },
            {"type": "web_search", "external_web_access": False},
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "stream": True,
        "prompt_cache_key": "k",
        "client_metadata": {"session_id": "s1"},
        **facts,
    }
    wire = WIRE_FORMATS["openai_responses"]
    return prepare(wire, body, kind=KINDS["anthropic"], upstream_model="claude-opus-4-5", max_output_tokens=9)


def test_it_works() -> None:
    """Claude Code on an OpenAI model."""
    exchange = claude_code()
    assert exchange.body["reasoning_effort"] == "high"
    assert [tool["function"]["name"] for tool in exchange.body["tools"]] == ["Bash", "Deferred"]
    assert exchange.body["user"] == "f784" * 16
    assert exchange.let_go == ("tools.1.defer_loading", "context_management")


@pytest.mark.parametrize(
    ("facts", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1_024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "adaptive", "display": "summarized"}}, None),
        ({"thinking": {"type": "disabled"}}, None),
        ({"output_config": {"effort": "max"}}, "xhigh"),
        ({"output_config": {"effort": "low"}}, "low"),
        ({"upstream": "gpt-4o"}, None),
        ({"upstream": "gpt-4.1-nano", "output_config": {"effort": "high"}}, None),
    ],
)
def test_a_budget_of_thinking_becomes_an_effort(facts: dict[str, Any], effort: str | None) -> None:
    exchange = claude_code(**facts)
    assert exchange.body.get("reasoning_effort") == effort
    assert ("reasoning_effort" in exchange.let_go) == ("upstream" in facts)


def test_a_hosted_tool_is_let_go_beside_others_and_refused_alone() -> None:
    assert "tools.1 (web_search_20250305)" in claude_code(tools=[BASH, SEARCH]).let_go
    for facts in (
        {"tools": [SEARCH]},
        {"tools": [BASH, SEARCH], "tool_choice": {"type": "tool", "name": "web_search"}},
        {"tools": [BASH, {"type": "code_execution_20250825", "name": "code_execution"}]},
        {"container": "c"},
        {"mcp_servers": [{"url": "https://x"}]},
    ):
        with pytest.raises(Untranslatable):
            claude_code(**facts)
    for facts in (
        {"tools": [{"type": "web_search"}]},
        {"tools": [SHELL, {"type": "web_search"}], "tool_choice": {"type": "web_search"}},
        {"tools": [SHELL, {"type": "file_search", "vector_store_ids": ["v"]}]},
        {"tools": [SHELL, {"type": "mcp", "server_url": "https://x"}]},
        {"background": True},
    ):
        with pytest.raises(Untranslatable):
            codex(**facts)


def test_codex_on_an_anthropic_model() -> None:
    exchange = codex()
    names = [tool["name"] for tool in exchange.body["tools"]]
    assert names == ["exec_command", "spawn", "agents__exec_command"]
    assert exchange.let_go == ("tools.2 (web_search)", "client_metadata")


def test_a_function_keeps_the_name_and_the_namespace_that_the_client_gave_it() -> None:
    request = {
        "model": "m",
        "input": [
            {**USER, "type": "message"},
            {
                "type": "function_call",
                "namespace": "agents",
                "name": "exec_command",
                "call_id": "c1",
                "arguments": "{}",
            },
            {"type": "function_call_output", "call_id": "c1", "output": "done"},
        ],
    }
    exchange = codex(**request)
    assert exchange.body["messages"][1]["content"][0]["name"] == "agents__exec_command"
    translation = exchange.translation
    assert isinstance(translation, ResponsesToMessages)
    block = {"type": "tool_use", "id": "c2", "name": "agents__exec_command", "input": {"a": 1}}
    answer = {"id": "msg_1", "role": "assistant", "content": [block], "stop_reason": "tool_use", "usage": {}}
    (item,) = translation.response(answer)["output"]
    assert (item["namespace"], item["name"]) == ("agents", "exec_command")
    stream = translation.stream()
    start = {**block, "input": {}}
    events = [
        event
        for payload in (
            {"type": "message_start", "message": {**answer, "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": start},
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'},
            },
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        )
        for event in stream.feed(payload)
    ] + stream.end()
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [(item["namespace"], item["name"], item["arguments"]) for item in done] == [
        ("agents", "exec_command", '{"a":1}')
    ]
    assert events[-1]["response"]["output"][0]["namespace"] == "agents"
