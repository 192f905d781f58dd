"""The Anthropic SDK's messages against the sandbox."""

import json
import urllib.error
import urllib.request

import anthropic
import pytest

from llm.tokens import counting
from tests.llm.sandbox.conftest import Provider

MODEL = "claude-sonnet-4-5"
WEATHER = {
    "name": "get_weather",
    "description": "Get the current weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def ask(provider: Provider, question: str, *, max_tokens: int = 500, **options):
    messages = [{"role": "user", "content": question}]
    return provider.anthropic().messages.create(
        model=MODEL, max_tokens=max_tokens, messages=messages, **options
    )


def test_it_works(provider: Provider) -> None:
    message = ask(provider, "How do I change my PIN?")
    assert message.id.startswith("msg_01")
    assert message.stop_reason == "end_turn"
    assert "Cards > PIN" in message.content[0].text
    call = provider.only_call()
    assert call["kind"] == "anthropic"
    assert call["request_id"] == message._request_id
    assert call["billed"] == {"input": message.usage.input_tokens, "output": message.usage.output_tokens}


def test_usage_is_what_the_counter_counts(provider: Provider) -> None:
    body = {
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Explain tides."}],
        "tools": [WEATHER],
    }
    client = provider.anthropic()
    counted = client.messages.count_tokens(model=MODEL, **body).input_tokens
    assert counted == counting.count_messages(body, MODEL)
    assert client.messages.create(model=MODEL, max_tokens=100, **body).usage.input_tokens == counted


def test_a_stream_adds_up_to_the_plain_message(provider: Provider) -> None:
    plain = ask(provider, "My top-up is pending")
    with provider.anthropic().messages.stream(
        model=MODEL, max_tokens=500, messages=[{"role": "user", "content": "My top-up is pending"}]
    ) as stream:
        events = list(stream)
        final = stream.get_final_message()
    assert final.content[0].text == plain.content[0].text
    assert (final.usage.input_tokens, final.usage.output_tokens) == (
        plain.usage.input_tokens,
        plain.usage.output_tokens,
    )
    assert events[0].type == "message_start"
    assert events[-1].type == "message_stop"
    assert provider.calls()[0]["billed"] == provider.calls()[1]["billed"]


def test_raw_events_come_in_the_documented_order(provider: Provider) -> None:
    kinds = [event.type for event in ask(provider, "Hello", stream=True)]
    short = [kind for index, kind in enumerate(kinds) if index == 0 or kind != kinds[index - 1]]
    assert [kind for kind in short if kind != "ping"] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_max_tokens_and_stop_sequences_end_the_message(provider: Provider) -> None:
    cut = ask(provider, "Write an essay about rivers.", max_tokens=9)
    assert cut.stop_reason == "max_tokens"
    assert cut.usage.output_tokens <= 9
    stopped = ask(provider, "Count from 1 to 9.", stop_sequences=["6"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "6")
    assert stopped.content[0].text == "1, 2, 3, 4, 5, "


def test_tools_are_called_and_their_results_used(provider: Provider) -> None:
    client, messages = provider.anthropic(), [{"role": "user", "content": "What is the weather in Paris?"}]
    message = client.messages.create(model=MODEL, max_tokens=300, messages=messages, tools=[WEATHER])
    (use,) = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use"
    assert use.input == {"city": "Paris"}
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "18 degrees"}
    messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    final = client.messages.create(model=MODEL, max_tokens=300, messages=messages, tools=[WEATHER])
    assert "18 degrees" in final.content[0].text


def test_tool_calls_stream(provider: Provider) -> None:
    with provider.anthropic().messages.stream(
        model=MODEL,
        max_tokens=300,
        messages=[{"role": "user", "content": "Hello"}],
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "get_weather"},
    ) as stream:
        message = stream.get_final_message()
    assert message.content[0].type == "tool_use"
    assert "city" in message.content[0].input


def test_thinking_comes_first_and_is_billed(provider: Provider) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    with provider.anthropic().messages.stream(
        model=MODEL,
        max_tokens=2000,
        thinking=thinking,
        messages=[{"role": "user", "content": "What is 15 * 37?"}],
    ) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].signature
    assert message.usage.output_tokens > 90
    assert provider.only_call()["billed"]["output"] == message.usage.output_tokens


def cached(provider: Provider, question: str, *, ttl: str = "5m", model: str = MODEL):
    system = [
        {
            "type": "text",
            "text": "You are a careful clerk. " * 400,
            "cache_control": {"type": "ephemeral", "ttl": ttl},
        }
    ]
    return (
        provider.anthropic()
        .messages.create(
            model=model, max_tokens=50, system=system, messages=[{"role": "user", "content": question}]
        )
        .usage
    )


def test_cache_control_writes_first_and_reads_then(provider: Provider) -> None:
    first, second = cached(provider, "Hello"), cached(provider, "Hello")
    assert first.cache_creation.ephemeral_5m_input_tokens == first.cache_creation_input_tokens > 1_024
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (
        0,
        first.cache_creation_input_tokens,
    )
    assert first.input_tokens == second.input_tokens < 50
    assert provider.calls()[1]["billed"]["cache_read"] == second.cache_read_input_tokens


def test_an_hour_of_cache_is_accounted_apart(provider: Provider) -> None:
    usage = cached(provider, "Hello", ttl="1h")
    assert usage.cache_creation.ephemeral_1h_input_tokens == usage.cache_creation_input_tokens > 0
    assert usage.cache_creation.ephemeral_5m_input_tokens == 0


def test_another_key_has_another_cache(provider: Provider) -> None:
    cached(provider, "Hello")
    assert cached(Provider(provider.url, f"{provider.key}-other"), "Hello").cache_read_input_tokens == 0


def test_short_prompts_are_not_cached(provider: Provider) -> None:
    system = [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]
    usage = ask(provider, "Hello", system=system).usage
    assert (usage.cache_creation_input_tokens, usage.cache_read_input_tokens) == (0, 0)


def test_bad_requests_are_refused_as_anthropic_does(provider: Provider) -> None:
    client = provider.anthropic()
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.post("/v1/messages", body={"model": MODEL, "messages": []}, cast_to=object)
    assert caught.value.body["error"] == {
        "type": "invalid_request_error",
        "message": "max_tokens: Field required",
    }
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        ask(provider, "word " * 200_000)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{provider.url}/v1/messages", data=b'{"model": "claude-sonnet-4-5"}')
    assert (refused.value.code, json.load(refused.value)["error"]["type"]) == (401, "authentication_error")


def test_structured_output_validates(provider: Provider) -> None:
    schema = {
        "type": "object",
        "properties": {"mood": {"enum": ["positive", "negative"]}},
        "required": ["mood"],
    }
    message = ask(
        provider,
        "I hate waiting, this is terrible",
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert message.content[0].text == '{"mood":"negative"}'
