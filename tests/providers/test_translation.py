"""What one protocol asks is asked in the other's words, or refused by name; the answer tells the same."""

import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.streams.sse import DONE, SseSplitter, data_of
from llm.wire import WIRE_FORMATS, Exchange, Untranslatable, prepare

CHAT = WIRE_FORMATS["openai_chat"]
MESSAGES = WIRE_FORMATS["anthropic_messages"]
RESPONSES = WIRE_FORMATS["openai_responses"]
USER = {"role": "user", "content": "Hi"}


def to_anthropic(**facts: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [USER], **facts}
    return prepare(CHAT, body, kind="anthropic", upstream_model="claude", max_output_tokens=9).body


def to_openai(**facts: Any) -> dict[str, Any]:
    body = {"model": "m", "max_tokens": 9, "messages": [USER], **facts}
    return prepare(MESSAGES, body, kind="openai", upstream_model="gpt-4o", max_output_tokens=9).body


def response_to_anthropic(**facts: Any) -> dict[str, Any]:
    body = {"model": "m", "input": "Hi", **facts}
    return prepare(RESPONSES, body, kind="anthropic", upstream_model="claude", max_output_tokens=9).body


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


def parts(*given: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(given)}]


@pytest.mark.parametrize(
    ("facts", "param"),
    [
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"frequency_penalty": 0.1}, "frequency_penalty"),
        ({"temperature": 1.5}, "temperature"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"prediction": {"type": "content"}}, "prediction"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "function": {"name": "f", "odd": 1}}]}, "tools.0.function.odd"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"something_new": 1}, "something_new"),
        ({"messages": [{"role": "user", "content": "x", "name": "bob"}]}, "messages.0.name"),
        ({"messages": [{"role": "function", "content": "x", "name": "f"}]}, "messages.0.role"),
        ({"messages": parts({"type": "input_audio", "input_audio": {}})}, "messages.0.content.0.type"),
        (
            {"messages": parts({"type": "image_url", "image_url": {"url": "http://x", "detail": "low"}})},
            "messages.0.content.0.image_url.detail",
        ),
        (
            {"messages": parts({"type": "file", "file": {"file_id": "f"}})},
            "messages.0.content.0.file.file_id",
        ),
    ],
)
def test_what_anthropic_cannot_do_is_refused_by_name(facts: dict[str, Any], param: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        to_anthropic(**facts)
    assert caught.value.param == param
    assert caught.value.status == 400
    assert param in caught.value.message


@pytest.mark.parametrize(
    ("facts", "param"),
    [
        ({"top_k": 5}, "top_k"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.type"),
        ({"stop_sequences": list("abcde")}, "stop_sequences"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"speed": "fast"}, "speed"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"name": "f", "input_schema": {}, "input_examples": []}]}, "tools.0.input_examples"),
        ({"output_config": {"effort": "max"}}, "output_config.effort"),
        (
            {"messages": parts({"type": "image", "source": {"type": "file"}})},
            "messages.0.content.0.source.type",
        ),
        ({"messages": parts({"type": "search_result"})}, "messages.0.content.0.type"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]},
            "messages.0.content.0.type",
        ),
        (
            {"messages": parts({"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image"}]})},
            "messages.0.content.0.content.0.type",
        ),
    ],
)
def test_what_openai_cannot_do_is_refused_by_name(facts: dict[str, Any], param: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        to_openai(**facts)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("facts", "param"),
    [
        ({"previous_response_id": "r"}, "previous_response_id"),
        ({"conversation": "c"}, "conversation"),
        ({"background": True}, "background"),
        ({"store": True}, "store"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type"),
        ({"max_tool_calls": 1}, "max_tool_calls"),
    ],
)
def test_what_a_stateless_chat_cannot_do_is_refused_by_name(facts: dict[str, Any], param: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        response_to_anthropic(**facts)
    assert caught.value.param == param


def test_embeddings_of_an_anthropic_model_are_refused() -> None:
    with pytest.raises(Untranslatable):
        prepare(
            WIRE_FORMATS["openai_embeddings"],
            {"model": "m", "input": "x"},
            kind="anthropic",
            upstream_model="claude",
            max_output_tokens=None,
        )


def test_nothing_of_the_clients_body_is_edited() -> None:
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": "S"}, dict(USER), dict(USER)],
        "stop": ["a"],
    }
    copy = {**body, "messages": [dict(message) for message in body["messages"]], "stop": ["a"]}
    prepare(CHAT, body, kind="anthropic", upstream_model="claude", max_output_tokens=1)
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


def exchange(wire: Any, kind: str) -> Exchange:
    body = {"model": "m", "messages": [USER], "max_tokens": 9}
    if wire is RESPONSES:
        body = {"model": "m", "input": "Hi"}
    return prepare(wire, body, kind=kind, upstream_model="u", max_output_tokens=9)


texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
names = st.text(alphabet="abcdef_", min_size=1, max_size=6)
inputs = st.dictionaries(names, texts, max_size=2)


@st.composite
def claude_answers(draw: st.DrawFn) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if draw(st.booleans()):
        content.append({"type": "thinking", "thinking": draw(texts), "signature": "sig"})
    if draw(st.booleans()):
        content.append({"type": "text", "text": draw(texts), "citations": []})
    for index, (name, given_input) in enumerate(draw(st.lists(st.tuples(names, inputs), max_size=3))):
        content.append(
            {
                "type": "tool_use",
                "id": f"t{index}",
                "name": name,
                "input": given_input,
                "caller": {"type": "direct"},
            }
        )
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": content or [{"type": "text", "text": "x", "citations": []}],
        "stop_reason": draw(
            st.sampled_from(["end_turn", "max_tokens", "tool_use", "refusal", "stop_sequence"])
        ),
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": draw(st.integers(1, 9))},
    }


def split(events: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """The same stream with its pieces of text cut further."""
    finer = []
    for event in events:
        delta = event.get("delta") or {}
        field = {"text_delta": "text", "input_json_delta": "partial_json", "thinking_delta": "thinking"}.get(
            delta.get("type", "")
        )
        if not field:
            finer.append(event)
            continue
        rest = delta[field]
        while rest:
            cut = chance.randint(1, len(rest))
            finer.append({**event, "delta": {**delta, field: rest[:cut]}})
            rest = rest[cut:]
    return finer


def streamed(exchange: Exchange, events: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client puts together of a translated stream."""
    translator = exchange.translation.stream()
    meter = exchange.client.meter()
    for event in events:
        for told in translator.feed(event):
            meter.feed(told)
    for told in translator.end():
        meter.feed(told)
    assert meter.has_ended
    return meter.response()


def replayed(wire: Any, answer: dict[str, Any]) -> list[dict[str, Any]]:
    stream = b"".join(wire.replay(answer, {}, wants_usage=True))
    return [orjson.loads(data_of(event)) for event in SseSplitter().feed(stream) if event != DONE]


CHANGING = frozenset({"id", "created", "created_at", "completed_at", "item_id", "purser"})


def settled(value: Any) -> Any:
    """Without what differs from one telling to the next: ids we make and times."""
    if isinstance(value, dict):
        return {
            name: settled(item) for name, item in value.items() if name not in CHANGING and item is not None
        }
    return [settled(item) for item in value] if isinstance(value, list) else value


@given(claude_answers(), st.randoms(use_true_random=False), st.sampled_from([CHAT, RESPONSES]))
def test_a_claude_stream_translated_is_its_answer_translated(
    answer: dict[str, Any], chance: Any, wire: Any
) -> None:
    current = exchange(wire, "anthropic")
    whole = current.answer(answer)
    told = streamed(current, split(replayed(MESSAGES, answer), chance))
    assert settled(told) == settled(whole)


@given(claude_answers(), st.randoms(use_true_random=False))
def test_there_and_back_again(answer: dict[str, Any], chance: Any) -> None:
    """A Claude answer told to a chat client, and that told to an Anthropic client, is the Claude answer."""
    as_chat = exchange(CHAT, "anthropic").answer(answer)
    back = exchange(MESSAGES, "openai")
    whole = back.answer(as_chat)
    told = streamed(back, replayed(CHAT, as_chat))
    assert settled(told) == settled(whole)
    known = [block for block in answer["content"] if block["type"] != "thinking"]
    found = [block for block in whole["content"] if block["type"] != "thinking"]
    assert settled(found) == settled(known)
    same = {"end_turn": "end_turn", "stop_sequence": "end_turn"}
    assert whole["stop_reason"] == same.get(answer["stop_reason"], answer["stop_reason"])
    assert whole["usage"]["input_tokens"] == answer["usage"]["input_tokens"]
    assert whole["usage"]["cache_read_input_tokens"] == answer["usage"]["cache_read_input_tokens"]
