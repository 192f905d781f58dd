"""The official SDKs understand what we send: untouched, translated and replayed, with our object in it."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pydantic
import pytest

OPENAI, CLAUDE = "openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"
MODELS = [OPENAI, CLAUDE]
QUESTION = "What is the capital of France?"
REPLAYED = [{}, {"x-replay": "1"}]
PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc0000003"
        "0101001827bc550000000049454e44ae426082"
    )
).decode()
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "get_weather", "description": "The weather of a city", "parameters": PARAMETERS}
WEATHER = "Please use the get_weather tool for Paris."


class Capital(pydantic.BaseModel):
    country: str
    capital: str


@pytest.fixture
async def client(gateway: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway}/v1", api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(gateway: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=gateway, api_key="x", max_retries=0) as client:
        yield client


def asked(text: str = QUESTION) -> list[dict[str, Any]]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


@pytest.mark.parametrize("model", MODELS)
async def test_it_works(client: openai.AsyncOpenAI, model: str) -> None:
    completion = await client.chat.completions.create(model=model, messages=asked())
    assert completion.choices[0].message.content
    assert completion.choices[0].finish_reason == "stop"
    assert (
        completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    )
    assert completion.purser["cache"] == "miss"


@pytest.mark.parametrize("headers", REPLAYED)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("wants_usage", [False, True])
async def test_a_chat_stream(
    client: openai.AsyncOpenAI, model: str, wants_usage: bool, headers: dict[str, str]
) -> None:
    whole = await client.chat.completions.create(model=model, messages=asked())
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    stream = await client.chat.completions.create(
        model=model, messages=asked(), stream=True, extra_headers=headers, **options
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].purser["cache"] == "miss"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    if wants_usage:
        assert chunks[-1].choices == []
        assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    else:
        assert all(chunk.choices for chunk in chunks)


@pytest.mark.parametrize("headers", REPLAYED)
@pytest.mark.parametrize("model", MODELS)
async def test_the_chat_streaming_helper(
    client: openai.AsyncOpenAI, model: str, headers: dict[str, str]
) -> None:
    async with client.chat.completions.stream(
        model=model, messages=asked(), stream_options={"include_usage": True}, extra_headers=headers
    ) as stream:
        kinds = {event.type async for event in stream}
        final = await stream.get_final_completion()
    assert {"content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content
    assert final.usage.completion_tokens > 0


@pytest.mark.parametrize("model", MODELS)
async def test_a_chat_tool_goes_round(client: openai.AsyncOpenAI, model: str) -> None:
    tools = [{"type": "function", "function": FUNCTION}]
    messages = asked(WEATHER)
    completion = await client.chat.completions.create(
        model=model, messages=messages, tools=tools, tool_choice="required", parallel_tool_calls=False
    )
    choice = completion.choices[0]
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert call.function.name == "get_weather"
    assert "city" in json.loads(call.function.arguments)
    messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    answer = await client.chat.completions.create(model=model, messages=messages, tools=tools)
    assert answer.choices[0].message.content


@pytest.mark.parametrize("headers", REPLAYED)
@pytest.mark.parametrize("model", MODELS)
async def test_chat_tools_are_streamed(
    client: openai.AsyncOpenAI, model: str, headers: dict[str, str]
) -> None:
    async with client.chat.completions.stream(
        model=model,
        messages=asked(WEATHER),
        tools=[{"type": "function", "function": FUNCTION}],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        extra_headers=headers,
    ) as stream:
        final = await stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    assert final.choices[0].finish_reason in ("tool_calls", "stop")
    assert call.function.name == "get_weather"
    assert "city" in json.loads(call.function.arguments)


@pytest.mark.parametrize("model", MODELS)
async def test_chat_answers_are_parsed(client: openai.AsyncOpenAI, model: str) -> None:
    completion = await client.chat.completions.parse(
        model=model, messages=asked("Name a country and its capital."), response_format=Capital
    )
    assert isinstance(completion.choices[0].message.parsed, Capital)


@pytest.mark.parametrize("model", MODELS)
async def test_json_mode(client: openai.AsyncOpenAI, model: str) -> None:
    completion = await client.chat.completions.create(
        model=model,
        messages=asked("Give me JSON with a country and its capital."),
        response_format={"type": "json_object"},
    )
    assert completion.choices[0].message.content


@pytest.mark.parametrize("model", MODELS)
async def test_an_image(client: openai.AsyncOpenAI, model: str) -> None:
    url = {"url": f"data:image/png;base64,{PIXEL}"}
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": url}]
    completion = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": content}]
    )
    assert completion.choices[0].message.content


async def test_several_answers_and_logprobs_are_streamed(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=OPENAI, messages=asked(), stream=True, n=2, logprobs=True, top_logprobs=2
    )
    chunks = [chunk async for chunk in stream]
    assert {chunk.choices[0].index for chunk in chunks} == {0, 1}
    assert chunks[-1].purser
    assert sum(chunk.choices[0].finish_reason == "stop" for chunk in chunks) == 2


@pytest.mark.parametrize("headers", REPLAYED)
async def test_a_legacy_completion(client: openai.AsyncOpenAI, headers: dict[str, str]) -> None:
    whole = await client.completions.create(model=OPENAI, prompt="Once upon a time")
    stream = await client.completions.create(
        model=OPENAI, prompt="Once upon a time", stream=True, extra_headers=headers
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].purser
    assert whole.purser


@pytest.mark.parametrize("model", MODELS)
async def test_a_message(claude: anthropic.AsyncAnthropic, model: str) -> None:
    message = await claude.messages.create(
        model=model, max_tokens=200, system="Be brief.", messages=[{"role": "user", "content": QUESTION}]
    )
    assert message.content[0].text
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0
    assert message.purser["cache"] == "miss"


@pytest.mark.parametrize("headers", REPLAYED)
@pytest.mark.parametrize("model", MODELS)
async def test_a_message_stream(
    claude: anthropic.AsyncAnthropic, model: str, headers: dict[str, str]
) -> None:
    asking: dict[str, Any] = {"model": model, "max_tokens": 200, "messages": asked()[1:]}
    whole = await claude.messages.create(**asking)
    async with claude.messages.stream(**asking, extra_headers=headers) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_message()
    assert final.content[0].text == whole.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.input_tokens == whole.usage.input_tokens
    assert next(event for event in events if event.type == "message_delta").purser["cache"] == "miss"
    raw = await claude.messages.create(**asking, stream=True, extra_headers=headers)
    assert [event async for event in raw][-1].purser["cache"] == "miss"


@pytest.mark.parametrize("model", MODELS)
async def test_a_message_tool_goes_round(claude: anthropic.AsyncAnthropic, model: str) -> None:
    tools = [{"name": "get_weather", "description": "The weather of a city", "input_schema": PARAMETERS}]
    messages: list[Any] = [{"role": "user", "content": WEATHER}]
    asking: dict[str, Any] = {"model": model, "max_tokens": 200, "tools": tools}
    message = await claude.messages.create(**asking, messages=messages, tool_choice={"type": "any"})
    assert message.stop_reason == "tool_use"
    (use,) = [block for block in message.content if block.type == "tool_use"]
    assert "city" in use.input
    result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "18"}]}
    messages += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result, {"type": "text", "text": "And now?"}]},
    ]
    answer = await claude.messages.create(**asking, messages=messages)
    assert answer.content


@pytest.mark.parametrize("headers", REPLAYED)
@pytest.mark.parametrize("model", MODELS)
async def test_message_tools_are_streamed(
    claude: anthropic.AsyncAnthropic, model: str, headers: dict[str, str]
) -> None:
    async with claude.messages.stream(
        model=model,
        max_tokens=200,
        messages=[{"role": "user", "content": WEATHER}],
        tools=[{"name": "get_weather", "description": "The weather of a city", "input_schema": PARAMETERS}],
        tool_choice={"type": "tool", "name": "get_weather"},
        extra_headers=headers,
    ) as stream:
        final = await stream.get_final_message()
    (use,) = [block for block in final.content if block.type == "tool_use"]
    assert final.stop_reason == "tool_use"
    assert "city" in use.input


@pytest.mark.parametrize("model", MODELS)
async def test_a_message_with_an_image_and_a_document(claude: anthropic.AsyncAnthropic, model: str) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    text = {"type": "text", "media_type": "text/plain", "data": "The moon is made of cheese."}
    content = [
        {"type": "image", "source": source},
        {"type": "document", "source": text, "title": "Moon"},
        {"type": "text", "text": "What is this?"},
    ]
    message = await claude.messages.create(
        model=model, max_tokens=100, messages=[{"role": "user", "content": content}]
    )
    assert message.content


async def test_thinking_reaches_a_chat_client_and_comes_back(client: openai.AsyncOpenAI) -> None:
    asking: dict[str, Any] = {"model": "anthropic/claude-sonnet-4-5", "max_tokens": 3000}
    extra = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    whole = await client.chat.completions.create(**asking, messages=asked(), extra_body=extra)
    assert whole.choices[0].message.reasoning_content
    assert whole.choices[0].message.thinking_blocks[0]["signature"]
    stream = await client.chat.completions.create(**asking, messages=asked(), stream=True, extra_body=extra)
    deltas = [chunk.choices[0].delta async for chunk in stream]
    told = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert told == whole.choices[0].message.reasoning_content
    messages = [*asked(), whole.choices[0].message.model_dump(exclude_none=True), *asked()[1:]]
    assert await client.chat.completions.create(**asking, messages=messages, extra_body=extra)


async def test_embeddings(client: openai.AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="openai/text-embedding-3-small", input=["one", "two"])
    assert len(answer.data) == 2
    assert answer.usage.prompt_tokens == 2


@pytest.mark.parametrize("model", MODELS)
async def test_a_response(client: openai.AsyncOpenAI, model: str) -> None:
    response = await client.responses.create(
        model=model, input=QUESTION, instructions="Be brief.", metadata={"a": "b"}
    )
    assert response.output_text
    assert response.status == "completed"
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.metadata == {"a": "b"}
    assert response.purser["cache"] == "miss"


@pytest.mark.parametrize("headers", REPLAYED)
@pytest.mark.parametrize("model", MODELS)
async def test_a_response_stream(client: openai.AsyncOpenAI, model: str, headers: dict[str, str]) -> None:
    whole = await client.responses.create(model=model, input=QUESTION)
    async with client.responses.stream(model=model, input=QUESTION, extra_headers=headers) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text == final.output_text
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert events[-1].type == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.purser["cache"] == "miss"
    raw = await client.responses.create(model=model, input=QUESTION, stream=True, extra_headers=headers)
    assert [event async for event in raw][-1].purser["cache"] == "miss"


@pytest.mark.parametrize("model", MODELS)
async def test_a_response_tool_goes_round(client: openai.AsyncOpenAI, model: str) -> None:
    tools = [{"type": "function", **FUNCTION, "strict": False}]
    items: list[Any] = [{"role": "user", "content": WEATHER}]
    response = await client.responses.create(model=model, input=items, tools=tools, tool_choice="required")
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert "city" in json.loads(call.arguments)
    items += response.output
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"})
    answer = await client.responses.create(model=model, input=items, tools=tools)
    assert answer.output_text


@pytest.mark.parametrize("headers", REPLAYED)
@pytest.mark.parametrize("model", MODELS)
async def test_response_tools_are_streamed(
    client: openai.AsyncOpenAI, model: str, headers: dict[str, str]
) -> None:
    async with client.responses.stream(
        model=model,
        input=WEATHER,
        tools=[{"type": "function", **FUNCTION, "strict": False}],
        tool_choice={"type": "function", "name": "get_weather"},
        extra_headers=headers,
    ) as stream:
        final = await stream.get_final_response()
    (call,) = [item for item in final.output if item.type == "function_call"]
    assert "city" in json.loads(call.arguments)


@pytest.mark.parametrize("model", MODELS)
async def test_responses_are_parsed(client: openai.AsyncOpenAI, model: str) -> None:
    response = await client.responses.parse(
        model=model, input="Name a country and its capital.", text_format=Capital
    )
    assert isinstance(response.output_parsed, Capital)


@pytest.mark.parametrize("model", MODELS)
async def test_a_stream_that_breaks_raises_in_every_sdk(
    client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, sandbox: Any, model: str
) -> None:
    async def break_next() -> None:
        sandbox.control("reset", {})
        sandbox.order("truncate_stream", after_chunks=2)

    await break_next()
    stream = await client.chat.completions.create(model=model, messages=asked(), stream=True)
    with pytest.raises(openai.APIError, match="ended before"):
        [chunk async for chunk in stream]
    await break_next()
    with pytest.raises(openai.APIError, match="ended before"):
        [event async for event in await client.responses.create(model=model, input=QUESTION, stream=True)]
    await break_next()
    messages = await claude.messages.create(model=model, max_tokens=99, messages=asked()[1:], stream=True)
    with pytest.raises(anthropic.APIError, match="ended before"):
        [event async for event in messages]
