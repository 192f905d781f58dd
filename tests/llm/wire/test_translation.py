"""What one protocol asks is asked in the other's words; the answer tells the same."""

from llm.providers.kinds import KINDS
from llm.wire import prepare
from tests.llm.wire.translating import (
    CHAT,
    MESSAGES,
    USER,
    exchange,
    response_to_anthropic,
    to_anthropic,
    to_openai,
)


def test_it_works() -> None:
    tool = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    asked = to_anthropic(
        messages=[
            {"role": "system", "content": "S"},
            USER,
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                    {"id": "2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "one"},
            {"role": "tool", "tool_call_id": "2", "content": "two"},
            USER,
        ],
        tools=[{"type": "function", "function": tool}],
        tool_choice="required",
        parallel_tool_calls=False,
        stop="END",
        user="alice",
        reasoning_effort="low",
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        stream=True,
        stream_options={"include_usage": True},
        temperature=0.5,
        n=1,
    )
    assert asked == {
        "model": "claude",
        "max_tokens": 9,
        "system": "S",
        "messages": [
            USER,
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "2", "name": "f", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "2", "content": "two"},
                {"type": "text", "text": "Hi"},
            ]},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "alice"},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "low"},
        "stream": True,
        "temperature": 0.5,
    }  # fmt: skip


def test_a_messages_request_becomes_a_chat_request() -> None:
    asked = to_openai(
        system=[{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}],
        messages=[
            USER,
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "...", "signature": "s"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": "broken", "is_error": True},
                {"type": "text", "text": "And?"},
            ]},
        ],
        tools=[{"name": "f", "input_schema": {"type": "object"}}],
        tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        stop_sequences=["END"],
        metadata={"user_id": "bob"},
        thinking={"type": "disabled"},
        top_p=0.5,
    )  # fmt: skip
    assert asked == {
        "model": "gpt-4o",
        "max_tokens": 9,
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "S"}]},
            USER,
            {"role": "assistant", "content": "Let me see.", "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            ]},
            {"role": "tool", "tool_call_id": "1", "content": "The tool failed: broken"},
            {"role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "stop": ["END"],
        "user": "bob",
        "top_p": 0.5,
    }  # fmt: skip


def test_a_responses_request_becomes_a_messages_request() -> None:
    asked = response_to_anthropic(
        instructions="S",
        input=[
            USER,
            {"type": "reasoning", "id": "rs", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Well"}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "one"},
        ],
        tools=[{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}],
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        store=False,
    )
    assert asked["system"] == "S"
    assert [turn["role"] for turn in asked["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in asked["messages"][1]["content"]] == ["text", "tool_use"]
    assert asked["output_config"]["format"]["schema"] == {"type": "object"}


def test_what_an_sdk_read_in_an_answer_may_come_back_with_it() -> None:
    function = {"name": "f", "arguments": "{}", "parsed_arguments": {}}
    answer = {
        "role": "assistant",
        "content": "{}",
        "parsed": {"a": 1},
        "tool_calls": [{"id": "1", "type": "function", "function": function}],
    }
    asked = to_anthropic(messages=[USER, answer])
    assert asked["messages"][1]["content"] == [
        {"type": "text", "text": "{}"},
        {"type": "tool_use", "id": "1", "name": "f", "input": {}},
    ]
    call = {"type": "function_call", "call_id": "1", "parsed_arguments": {}, "name": "f", "arguments": "{}"}
    text = {"type": "output_text", "text": "{}", "parsed": {"a": 1}}
    items = [USER, {"type": "message", "role": "assistant", "content": [text]}, call]
    assert response_to_anthropic(input=items)["messages"] == asked["messages"]


def test_a_translated_text_has_a_list_of_citations() -> None:
    """Anthropic's specification requires the field, the Vercel AI SDK takes a list or nothing."""
    told = exchange(MESSAGES, "openai").answer({"choices": [{"message": {"content": "Hi"}}]})
    assert told["content"] == [{"type": "text", "text": "Hi", "citations": []}]


def test_the_limit_of_the_pipeline_wins_and_is_always_there() -> None:
    assert to_anthropic(max_completion_tokens=5000)["max_tokens"] == 9
    assert response_to_anthropic()["max_tokens"] == 9


def test_a_chat_client_may_send_what_is_anthropics_own() -> None:
    asked = to_anthropic(
        thinking={"type": "enabled", "budget_tokens": 1024},
        top_k=5,
        messages=[
            {
                "role": "user",
                "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
            }
        ],
    )
    assert asked["thinking"]["budget_tokens"] == 1024
    assert asked["top_k"] == 5
    assert asked["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}


def test_json_mode_becomes_an_instruction() -> None:
    assert "JSON" in to_anthropic(response_format={"type": "json_object"})["system"]


def test_nothing_of_the_clients_body_is_edited() -> None:
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": "S"}, dict(USER), dict(USER)],
        "stop": ["a"],
    }
    copy = {**body, "messages": [dict(message) for message in body["messages"]], "stop": ["a"]}
    prepare(CHAT, body, kind=KINDS["anthropic"], upstream_model="claude", max_output_tokens=1)
    assert body == copy


def test_cached_tokens_are_inside_openais_prompt_and_outside_anthropics_input() -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 2,
        "output_tokens": 3,
    }
    told = exchange(CHAT, "anthropic").answer({"content": [], "usage": usage})["usage"]
    assert (told["prompt_tokens"], told["total_tokens"]) == (17, 20)
    assert told["prompt_tokens_details"]["cached_tokens"] == 5
    chat_usage = {"prompt_tokens": 17, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}
    told = exchange(MESSAGES, "openai").answer({"choices": [{"message": {}}], "usage": chat_usage})["usage"]
    assert (told["input_tokens"], told["cache_read_input_tokens"], told["output_tokens"]) == (12, 5, 3)
