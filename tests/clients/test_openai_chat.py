"""The official OpenAI SDK's chat completions, answered by models of both kinds of provider."""

import asyncio
import json
from decimal import Decimal
from typing import Any, Literal

import openai
import pydantic
import pytest

from tests.api.conftest import fresh_question, turns
from tests.books import Books
from tests.clients.conftest import (
    ASKS_FOR_WEATHER,
    CLAUDE,
    GPT,
    MODELS,
    PIXEL,
    WEATHER,
    CheckBooks,
)
from tests.world import World

CHAT = "/v1/chat/completions"


class GetWeather(pydantic.BaseModel):
    """The weather of a city."""

    city: str


class Stop(pydantic.BaseModel):
    city: str
    nights: int


class Trip(pydantic.BaseModel):
    """A trip with its stops."""

    title: str
    season: Literal["spring", "summer", "autumn", "winter"]
    stops: list[Stop]
    note: str | None


WEATHER_TOOL = openai.pydantic_function_tool(GetWeather, name="get_weather")


@pytest.mark.parametrize("model", MODELS)
def test_it_works(world: World, check_books: CheckBooks, model: str) -> None:
    completion = world.openai().chat.completions.create(model=model, messages=turns(fresh_question()))
    assert completion.object == "chat.completion"
    assert completion.choices[0].message.content
    assert completion.choices[0].finish_reason == "stop"
    assert completion._request_id == completion.purser["request_id"]
    usage = completion.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    check_books(
        completion._request_id,
        model=model,
        endpoint=CHAT,
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
    )


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("wants_usage", [False, True])
def test_async_streams(world: World, check_books: CheckBooks, model: str, wants_usage: bool) -> None:
    """Usage is counted whether the client asks for it or not, and shown only to the one who does."""
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}

    async def one(client: openai.AsyncOpenAI) -> list[Any]:
        stream = await client.chat.completions.create(
            model=model, messages=turns(fresh_question()), stream=True, **options
        )
        return [chunk async for chunk in stream]

    async def some() -> list[list[Any]]:
        async with world.async_openai() as client:
            return await asyncio.gather(*(one(client) for _ in range(3)))

    for chunks in asyncio.run(some()):
        assert chunks[0].choices[0].delta.role == "assistant"
        told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert told
        assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["stop"]
        shown = [chunk for chunk in chunks if chunk.usage]
        block = chunks[-1].purser
        if wants_usage:
            assert shown == [chunks[-1]]
            assert chunks[-1].choices == []
            assert chunks[-1].usage.prompt_tokens == block["tokens"]["input"]
            assert chunks[-1].usage.completion_tokens == block["tokens"]["output"]
        else:
            assert shown == []
            assert all(chunk.choices for chunk in chunks)
        check_books(
            block["request_id"],
            model=model,
            endpoint=CHAT,
            input_tokens=block["tokens"]["input"],
            output_tokens=block["tokens"]["output"],
        )


@pytest.mark.parametrize("model", MODELS)
def test_the_streaming_helper_parses_what_it_heard(world: World, check_books: CheckBooks, model: str) -> None:
    with world.openai().chat.completions.stream(
        model=model,
        messages=turns("Plan a trip with its stops."),
        response_format=Trip,
        stream_options={"include_usage": True},
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = "".join(event.delta for event in events if event.type == "content.delta")
    (done,) = [event for event in events if event.type == "content.done"]
    assert deltas == done.content == final.choices[0].message.content
    assert isinstance(final.choices[0].message.parsed, Trip)
    assert done.parsed == final.choices[0].message.parsed
    check_books(
        events[-1].chunk.purser["request_id"],
        model=model,
        endpoint=CHAT,
        input_tokens=final.usage.prompt_tokens,
        output_tokens=final.usage.completion_tokens,
    )


@pytest.mark.parametrize("model", MODELS)
async def test_structured_answers_are_parsed(world: World, model: str) -> None:
    async with world.async_openai() as client:
        completion = await client.chat.completions.parse(
            model=model, messages=turns("Plan a trip with its stops."), response_format=Trip
        )
    trip = completion.choices[0].message.parsed
    assert isinstance(trip, Trip)
    assert trip.stops
    assert completion.choices[0].message.refusal is None


@pytest.mark.parametrize("model", MODELS)
def test_a_loop_of_tools_ends_with_an_answer(
    world: World, books: Books, check_books: CheckBooks, model: str
) -> None:
    """Two cities, two calls side by side, their results, and an answer made of them."""
    client = world.openai()
    messages: list[Any] = turns(ASKS_FOR_WEATHER)
    asked: list[str] = []
    completions = []
    for _ in range(3):
        completion = client.chat.completions.parse(model=model, messages=messages, tools=[WEATHER_TOOL])
        completions.append(completion)
        message = completion.choices[0].message
        if not message.tool_calls:
            break
        assert completion.choices[0].finish_reason == "tool_calls"
        messages.append(message)
        for call in message.tool_calls:
            city = call.function.parsed_arguments.city
            asked.append(city)
            result = {"role": "tool", "tool_call_id": call.id, "content": WEATHER[city]}
            messages.append({**result, "name": call.function.name})  # as OpenAI's first examples had it
    assert sorted(asked) == sorted(WEATHER)
    assert all(weather in message.content for weather in WEATHER.values())
    assert len(books.rows(world.acme.id)) == len(completions) == 2
    for completion in completions:
        check_books(
            completion._request_id,
            model=model,
            endpoint=CHAT,
            input_tokens=completion.usage.prompt_tokens,
            output_tokens=completion.usage.completion_tokens,
        )


@pytest.mark.parametrize("model", MODELS)
def test_parallel_tool_calls_are_streamed_apart(world: World, model: str) -> None:
    with world.openai().chat.completions.stream(
        model=model, messages=turns(ASKS_FOR_WEATHER), tools=[WEATHER_TOOL]
    ) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert [event.index for event in done] == [0, 1]
    calls = final.choices[0].message.tool_calls
    assert sorted(call.function.parsed_arguments.city for call in calls) == sorted(WEATHER)
    assert len({call.id for call in calls}) == 2


@pytest.mark.parametrize("model", MODELS)
def test_tools_one_at_a_time(world: World, model: str) -> None:
    completion = world.openai().chat.completions.create(
        model=model,
        messages=turns(ASKS_FOR_WEATHER),
        tools=[WEATHER_TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    (call,) = completion.choices[0].message.tool_calls
    assert json.loads(call.function.arguments).keys() == {"city"}


def test_several_answers_with_their_logprobs(world: World, check_books: CheckBooks) -> None:
    asking: dict[str, Any] = {"n": 2, "logprobs": True, "top_logprobs": 2, "seed": 7, "temperature": 0.5}
    client = world.openai()
    whole = client.chat.completions.create(model=GPT, messages=turns(fresh_question()), **asking)
    assert [choice.index for choice in whole.choices] == [0, 1]
    for choice in whole.choices:
        assert "".join(token.token for token in choice.logprobs.content) == choice.message.content
        assert all(len(token.top_logprobs) == 2 for token in choice.logprobs.content)
    with client.chat.completions.stream(
        model=GPT, messages=turns(fresh_question()), stream_options={"include_usage": True}, **asking
    ) as stream:
        chunks = [event.chunk for event in stream if event.type == "chunk"]
        final = stream.get_final_completion()
    for choice in final.choices:
        assert "".join(token.token for token in choice.logprobs.content) == choice.message.content
    for completion, block in ((whole, whole.purser), (final, chunks[-1].purser)):
        check_books(
            block["request_id"],
            model=GPT,
            endpoint=CHAT,
            input_tokens=completion.usage.prompt_tokens,
            output_tokens=completion.usage.completion_tokens,
        )


@pytest.mark.parametrize("model", MODELS)
def test_an_image_is_looked_at(world: World, model: str) -> None:
    content = [
        {"type": "text", "text": "What is in this image?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "auto"}},
    ]
    completion = world.openai().chat.completions.create(
        model=model, messages=[{"role": "user", "content": content}]
    )
    assert "image" in completion.choices[0].message.content


def test_a_sound_goes_to_the_model_that_hears_and_is_refused_where_none_can(
    world: World, books: Books, make_deployment
) -> None:
    prices = {"input": "1", "input_audio": "40", "output": "4"}
    hears = make_deployment(
        prices=[{"meter": meter, "usd_per_million": price} for meter, price in prices.items()]
    )
    content = [
        {"type": "text", "text": "What do you hear?"},
        {"type": "input_audio", "input_audio": {"data": "UklGRiQAAABXQVZF", "format": "wav"}},
    ]
    client = world.openai()
    messages = [{"role": "user", "content": content}]
    assert client.chat.completions.create(model=hears.model, messages=messages).choices[0].message.content
    assert len(books.calls(key=hears.account_key)) == 1
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=CLAUDE, messages=messages)
    assert refused.value.param == "messages.0.content.1.type"


def test_a_service_tier_is_billed_at_its_price(world: World, books: Books, make_deployment) -> None:
    prices = [
        {"meter": meter, "usd_per_million": price, **tier}
        for tier, rates in (({}, ("1", "4")), ({"processing": "flex"}, ("0.5", "2")))
        for meter, price in zip(("input", "output"), rates, strict=True)
    ]
    deployment = make_deployment(prices=prices)
    completion = world.openai().chat.completions.create(
        model=deployment.model, messages=turns(fresh_question()), service_tier="flex"
    )
    assert completion.service_tier == "flex"
    usage = completion.usage
    cost = (usage.prompt_tokens * Decimal("0.5") + usage.completion_tokens * 2) / 1_000_000
    assert books.row(completion._request_id).billed_cost == cost


@pytest.mark.parametrize("streams", [False, True])
def test_unknown_fields_reach_the_provider(
    world: World, books: Books, make_deployment, streams: bool
) -> None:
    deployment = make_deployment()
    answer = world.openai().chat.completions.create(
        model=deployment.model,
        messages=turns(fresh_question()),
        stream=streams,
        metadata={"ticket": "4711"},
        verbosity="low",
        extra_body={"frobnicate": {"deep": [1, None]}},
        extra_headers={"openai-beta": "shiny=v1"},
    )
    if streams:
        list(answer)
    (call,) = books.ended_calls(count=1, key=deployment.account_key)
    assert {"frobnicate", "verbosity", "metadata", "messages"} <= set(call["fields"])
    assert call["metadata"] == {"ticket": "4711"}
    assert call["betas"] == "shiny=v1"


def test_what_claude_has_no_counterpart_for_is_refused_by_name(world: World) -> None:
    for name, value in {"n": 2, "logprobs": True, "seed": 7, "logit_bias": {"50256": -100}}.items():
        with pytest.raises(openai.BadRequestError) as refused:
            world.openai().chat.completions.create(
                model=CLAUDE, messages=turns(fresh_question()), **{name: value}
            )
        assert (refused.value.param, refused.value.code) == (name, "invalid_request")
