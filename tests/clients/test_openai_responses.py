"""The official OpenAI SDK's responses, answered by models of both kinds of provider."""

import asyncio
import json
from typing import Any

import openai
import pydantic
import pytest

from tests.api.conftest import fresh_question
from tests.books import Books
from tests.clients.conftest import ASKS_FOR_WEATHER, CLAUDE, GPT, MODELS, PIXEL, WEATHER, CheckBooks
from tests.world import World

RESPONSES = "/v1/responses"
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Capital(pydantic.BaseModel):
    country: str
    capital: str


@pytest.mark.parametrize("model", MODELS)
def test_it_works(world: World, check_books: CheckBooks, model: str) -> None:
    response = world.openai().responses.create(
        model=model, instructions="Be brief.", input=fresh_question(), metadata={"ticket": "4711"}
    )
    assert (response.object, response.status, response.error) == ("response", "completed", None)
    assert response.output_text
    assert response.metadata == {"ticket": "4711"}
    check_books(
        response._request_id,
        model=model,
        endpoint=RESPONSES,
        input_tokens=response.usage.input_tokens,
        output_tokens=response.usage.output_tokens,
    )


@pytest.mark.parametrize("model", MODELS)
def test_async_streams(world: World, check_books: CheckBooks, model: str) -> None:
    async def listen() -> list[Any]:
        async with world.async_openai() as client:
            stream = await client.responses.create(model=model, input=fresh_question(), stream=True)
            return [event async for event in stream]

    events = asyncio.run(listen())
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    told = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    final = events[-1].response
    assert told == final.output_text != ""
    check_books(
        final.purser["request_id"],
        model=model,
        endpoint=RESPONSES,
        input_tokens=final.usage.input_tokens,
        output_tokens=final.usage.output_tokens,
    )


@pytest.mark.parametrize("model", MODELS)
def test_the_streaming_helper_parses_what_it_heard(world: World, model: str) -> None:
    with world.openai().responses.stream(
        model=model, input="Name a country and its capital.", text_format=Capital
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert {"response.output_text.delta", "response.output_text.done", "response.completed"} <= kinds
    assert isinstance(final.output_parsed, Capital)


@pytest.mark.parametrize("model", MODELS)
async def test_structured_answers_are_parsed(world: World, model: str) -> None:
    async with world.async_openai() as client:
        response = await client.responses.parse(
            model=model, input="Name a country and its capital.", text_format=Capital
        )
    assert isinstance(response.output_parsed, Capital)


@pytest.mark.parametrize("model", MODELS)
def test_a_loop_of_tools_ends_with_an_answer(
    world: World, books: Books, check_books: CheckBooks, model: str
) -> None:
    client = world.openai()
    items: list[Any] = [{"role": "user", "content": ASKS_FOR_WEATHER}]
    for _ in range(3):
        response = client.responses.parse(model=model, input=items, tools=[TOOL])
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            break
        items += response.output
        for call in calls:
            city = json.loads(call.arguments)["city"]
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": WEATHER[city]})
    assert all(weather in response.output_text for weather in WEATHER.values())
    assert len(books.rows(world.acme.id)) == 2
    check_books(
        response._request_id,
        model=model,
        endpoint=RESPONSES,
        input_tokens=response.usage.input_tokens,
        output_tokens=response.usage.output_tokens,
    )


@pytest.mark.parametrize("model", MODELS)
def test_parallel_tool_calls_are_streamed_apart(world: World, model: str) -> None:
    with world.openai().responses.stream(model=model, input=ASKS_FOR_WEATHER, tools=[TOOL]) as stream:
        done = [event for event in stream if event.type == "response.function_call_arguments.done"]
        final = stream.get_final_response()
    assert [event.output_index for event in done] == [0, 1]
    assert sorted(json.loads(event.arguments)["city"] for event in done) == sorted(WEATHER)
    assert len({item.call_id for item in final.output}) == 2


@pytest.mark.parametrize("model", MODELS)
def test_an_image_is_looked_at(world: World, model: str) -> None:
    content = [
        {"type": "input_text", "text": "What is in this image?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
    ]
    response = world.openai().responses.create(model=model, input=[{"role": "user", "content": content}])
    assert "image" in response.output_text


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_that_is_cut_off_is_incomplete(world: World, model: str) -> None:
    response = world.openai().responses.create(model=model, input="Write 80 words.", max_output_tokens=16)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"


def test_a_conversation_that_the_provider_keeps_is_held_for_whole(
    world: World, books: Books, make_deployment
) -> None:
    """What is sent is short, what is billed is not: the hold covers it, no estimate learns of it, no cache answers."""
    deployment = make_deployment()
    client = world.openai()
    first = client.responses.create(model=deployment.model, input="My name is Ada. " * 2000)
    asking = {"model": deployment.model, "input": "What is my name?", "previous_response_id": first.id}
    second, third = (client.responses.create(**asking) for _ in range(2))
    assert second.usage.input_tokens > first.usage.input_tokens > 5000
    assert second.id != third.id
    _, attempt, _ = books.settled(world.acme.id, count=3)
    row = books.row(second._request_id)
    assert attempt.hold_usd >= row.billed_cost
    assert attempt.hold_tokens >= row.input_tokens + row.output_tokens
    assert "counted_input_tokens" not in attempt.dims


def test_no_response_is_made_in_the_background(world: World) -> None:
    """Nobody could fetch it here, and nobody would bill it."""
    with pytest.raises(openai.BadRequestError) as refused:
        world.openai().responses.create(model=GPT, input=fresh_question(), background=True)
    assert refused.value.param == "background"


@pytest.mark.parametrize("model", MODELS)
def test_tokens_are_counted(world: World, books: Books, model: str) -> None:
    client = world.openai()
    asking: dict[str, Any] = {"model": model, "instructions": "Be brief.", "input": fresh_question()}
    counted = client.responses.input_tokens.count(**asking)
    assert counted.object == "response.input_tokens"
    assert books.attempts(world.acme.id) == []
    billed = client.responses.create(**asking).usage.input_tokens
    assert billed <= counted.input_tokens <= 2 * billed


def test_unknown_fields_reach_the_provider(world: World, books: Books, make_deployment) -> None:
    deployment = make_deployment()
    world.openai().responses.create(
        model=deployment.model, input=fresh_question(), extra_body={"frobnicate": 1}, store=True
    )
    (call,) = books.ended_calls(count=1, key=deployment.account_key)
    assert {"frobnicate", "store", "input"} <= set(call["fields"])


def test_what_claude_has_no_counterpart_for_is_refused_by_name(world: World) -> None:
    for name, value in {"truncation": "auto", "previous_response_id": "resp_1", "store": True}.items():
        with pytest.raises(openai.BadRequestError) as refused:
            world.openai().responses.create(model=CLAUDE, input=fresh_question(), **{name: value})
        assert refused.value.param == name
