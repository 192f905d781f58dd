"""The official Anthropic SDK, answered by models of both kinds of provider."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anthropic
import pydantic
import pytest
from anthropic import beta_async_tool, beta_tool
from anthropic.types.thread_unsupported_request_error import ThreadUnsupportedRequestError

from tests.api.conftest import fresh_question, turns
from tests.books import Books
from tests.clients.conftest import ASKS_FOR_WEATHER, CLAUDE, GPT, MODELS, PIXEL, WEATHER, CheckBooks
from tests.world import Member, World

MESSAGES = "/v1/messages"
SHORT: dict[str, Any] = {"max_tokens": 200}


class Capital(pydantic.BaseModel):
    country: str
    capital: str


def input_of(usage: Any) -> int:
    """All tokens of the prompt, those of a cache too."""
    written, read = usage.cache_creation_input_tokens or 0, usage.cache_read_input_tokens or 0
    return usage.input_tokens + written + read


@pytest.mark.parametrize("model", MODELS)
def test_it_works(world: World, check_books: CheckBooks, model: str) -> None:
    message = world.anthropic().messages.create(
        model=model, **SHORT, system="Be brief.", messages=turns(fresh_question())
    )
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    assert message.content[0].text
    assert message._request_id == message.purser["request_id"]
    check_books(
        message._request_id,
        model=model,
        endpoint=MESSAGES,
        input_tokens=input_of(message.usage),
        output_tokens=message.usage.output_tokens,
    )


def test_headers_and_the_user_of_the_body(world: World, books: Books) -> None:
    raw = world.anthropic().messages.with_raw_response.create(
        model=CLAUDE, **SHORT, messages=turns(fresh_question()), metadata={"user_id": "alice"}
    )
    block = raw.parse().purser
    assert raw.request_id == raw.headers["x-request-id"] == block["request_id"]
    assert raw.headers["x-purser-cost-usd"] == block["cost_usd"]
    assert raw.headers["x-purser-model"] == CLAUDE
    assert books.row(raw.request_id).user_id == "alice"


@pytest.mark.parametrize("model", MODELS)
def test_async_streams(world: World, check_books: CheckBooks, model: str) -> None:
    async def listen() -> tuple[str, Any, list[Any]]:
        async with world.async_anthropic() as client:
            async with client.messages.stream(
                model=model, **SHORT, messages=turns(fresh_question())
            ) as stream:
                told = "".join([text async for text in stream.text_stream])
                final = await stream.get_final_message()
                request_id = stream.request_id
            raw = await client.messages.create(
                model=model, **SHORT, messages=turns(fresh_question()), stream=True
            )
            return told, (final, request_id), [event async for event in raw]

    told, (final, request_id), events = asyncio.run(listen())
    assert told == final.content[0].text != ""
    check_books(
        request_id,
        model=model,
        endpoint=MESSAGES,
        input_tokens=input_of(final.usage),
        output_tokens=final.usage.output_tokens,
    )
    kinds = [event.type for event in events if event.type != "ping"]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert events[-1].purser["cache"] == "miss"


@pytest.mark.parametrize("model", MODELS)
def test_the_tool_runner_ends_with_an_answer(
    world: World, books: Books, check_books: CheckBooks, model: str
) -> None:
    asked: list[str] = []

    @beta_tool
    def get_weather(city: str) -> str:
        """The weather of a city.

        Args:
            city: Its name.
        """
        asked.append(city)
        return WEATHER[city]

    runner = world.anthropic().beta.messages.tool_runner(
        model=model, **SHORT, tools=[get_weather], messages=turns(ASKS_FOR_WEATHER)
    )
    messages = list(runner)
    assert [message.stop_reason for message in messages] == ["tool_use", "end_turn"]
    assert sorted(asked) == sorted(WEATHER)
    assert all(weather in messages[-1].content[0].text for weather in WEATHER.values())
    assert len(books.rows(world.acme.id)) == 2
    for message in messages:
        check_books(
            message._request_id,
            model=model,
            endpoint=MESSAGES,
            input_tokens=input_of(message.usage),
            output_tokens=message.usage.output_tokens,
        )


@pytest.mark.parametrize("model", MODELS)
def test_the_async_tool_runner_streams(world: World, model: str) -> None:
    asked: list[str] = []

    @beta_async_tool
    async def get_weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return WEATHER[city]

    async def run() -> list[Any]:
        async with world.async_anthropic() as client:
            runner = client.beta.messages.tool_runner(
                model=model, **SHORT, tools=[get_weather], messages=turns(ASKS_FOR_WEATHER), stream=True
            )
            return [await stream.get_final_message() async for stream in runner]

    finals = asyncio.run(run())
    assert sorted(asked) == sorted(WEATHER)
    assert all(weather in finals[-1].content[0].text for weather in WEATHER.values())


@pytest.mark.parametrize("model", MODELS)
def test_structured_answers_are_parsed(world: World, model: str) -> None:
    client = world.anthropic()
    asking: dict[str, Any] = {
        "model": model,
        **SHORT,
        "messages": turns("Name a country and its capital."),
        "output_format": Capital,
    }
    assert isinstance(client.messages.parse(**asking).parsed_output, Capital)
    with client.messages.stream(**asking) as stream:
        assert isinstance(stream.get_final_message().parsed_output, Capital)


def test_thinking_comes_first_and_goes_back_as_it_came(world: World, check_books: CheckBooks) -> None:
    client = world.anthropic()
    asking: dict[str, Any] = {
        "model": CLAUDE,
        "max_tokens": 3000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    question = turns(fresh_question())
    with client.messages.stream(**asking, messages=question) as stream:
        thought = "".join(event.thinking for event in stream if event.type == "thinking")
        message = stream.get_final_message()
    thinking, text = message.content
    assert (thinking.type, text.type) == ("thinking", "text")
    assert thinking.thinking == thought != ""
    assert thinking.signature
    check_books(
        stream.request_id,
        model=CLAUDE,
        endpoint=MESSAGES,
        input_tokens=input_of(message.usage),
        output_tokens=message.usage.output_tokens,
    )
    follow_up = [*question, {"role": "assistant", "content": message.content}, *turns(fresh_question())]
    assert client.messages.create(**asking, messages=follow_up).content[-1].text


def test_a_marked_prefix_is_written_then_read_and_billed_so(world: World, books: Books) -> None:
    client = world.anthropic()
    manual = "Rule: answer the customer politely and name the page of the manual. " * 400
    system = [{"type": "text", "text": manual, "cache_control": {"type": "ephemeral"}}]
    first, second = (
        client.messages.create(model=CLAUDE, **SHORT, system=system, messages=turns(fresh_question()))
        for _ in range(2)
    )
    assert first.usage.cache_creation_input_tokens == second.usage.cache_read_input_tokens > 1024
    assert first.usage.cache_read_input_tokens == second.usage.cache_creation_input_tokens == 0
    rows = [books.row(message._request_id) for message in (first, second)]
    assert rows[0].cache_write_tokens == rows[1].cache_read_tokens == second.usage.cache_read_input_tokens
    assert rows[0].billed_cost > 5 * rows[1].billed_cost


def test_a_thread_is_refused_as_anthropic_does(world: World, books: Books) -> None:
    """A thread that must be one fails; a tool runner (above) goes on with the whole conversation."""
    thread = world.anthropic().beta.messages.thread(model=CLAUDE, **SHORT)
    with pytest.raises(ThreadUnsupportedRequestError) as refused:
        thread.send({"role": "user", "content": fresh_question()})
    assert refused.value.body["error"]["param"] == "thread"
    assert books.attempts(world.acme.id) == []


def test_fast_answers_have_a_price_of_their_own(world: World, books: Books, make_deployment) -> None:
    deployment = make_deployment("anthropic")
    with pytest.raises(anthropic.PaymentRequiredError):
        world.anthropic().messages.create(
            model=deployment.model, **SHORT, messages=turns(fresh_question()), speed="fast"
        )
    assert books.calls(key=deployment.account_key) == []


def test_other_betas_get_another_answer(world: World, books: Books) -> None:
    """What a provider is asked to do by headers is a part of the request, for the caches too."""
    client = world.anthropic()
    asking: dict[str, Any] = {"model": CLAUDE, **SHORT, "messages": turns(fresh_question())}
    told = [
        client.beta.messages.create(**asking, betas=betas).purser["cache"]
        for betas in (["shiny-2030-01-01"], [], ["shiny-2030-01-01"], [])
    ]
    assert told == ["miss", "miss", "exact", "exact"]


@pytest.mark.parametrize("model", MODELS)
def test_images_and_documents(world: World, model: str) -> None:
    image = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    text = {"type": "text", "media_type": "text/plain", "data": "The moon is made of cheese."}
    content = [
        {"type": "image", "source": image},
        {"type": "document", "source": text, "title": "The moon"},
        {"type": "text", "text": "What is in this image?"},
    ]
    message = world.anthropic().messages.create(
        model=model, **SHORT, messages=[{"role": "user", "content": content}]
    )
    assert "image" in message.content[0].text


@pytest.mark.parametrize("model", MODELS)
def test_tokens_are_counted(world: World, books: Books, model: str) -> None:
    client = world.anthropic()
    asking: dict[str, Any] = {"model": model, "system": "Be brief.", "messages": turns(fresh_question())}
    counted = client.messages.count_tokens(**asking).input_tokens
    assert counted == client.beta.messages.count_tokens(**asking).input_tokens
    assert books.attempts(world.acme.id) == []
    billed = client.messages.create(**asking, **SHORT).usage.input_tokens
    assert billed <= counted <= 2 * billed


def test_server_tools_and_betas_reach_the_provider(world: World, books: Books, make_deployment) -> None:
    deployment = make_deployment("anthropic")
    client = world.anthropic()
    client.beta.messages.create(
        model=deployment.model,
        **SHORT,
        messages=turns(fresh_question()),
        tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}],
        betas=["context-1m-2025-08-07", "shiny-2030-01-01"],
        extra_body={"frobnicate": {"deep": [1, None]}},
    )
    (call,) = books.ended_calls(count=1, key=deployment.account_key)
    assert {"tools", "frobnicate", "messages"} <= set(call["fields"])
    assert call["betas"] == "context-1m-2025-08-07,shiny-2030-01-01"


def test_what_gpt_has_no_counterpart_for_is_refused_by_name(world: World) -> None:
    client = world.anthropic()
    search = {"type": "web_search_20250305", "name": "web_search"}
    cases: list[tuple[str, dict[str, Any]]] = [
        ("tools.0.type", {"tools": [search]}),
        ("top_k", {"extra_body": {"top_k": 5}}),
    ]
    for name, asked in cases:
        with pytest.raises(anthropic.BadRequestError) as refused:
            client.messages.create(**{"model": GPT, **SHORT, "messages": turns(fresh_question()), **asked})
        assert refused.value.body["error"]["param"] == name
        assert refused.value.type == "invalid_request_error"


async def test_models(world: World) -> None:
    async with world.async_anthropic() as client:
        listed = {model.id: model async for model in client.models.list(limit=2)}
        assert {GPT, CLAUDE} <= listed.keys()
        assert await client.models.retrieve(CLAUDE) == listed[CLAUDE]


def test_errors_are_the_sdks_own(world: World, make_tenant: Callable[..., Member]) -> None:
    def refused(member: Member | None = None, *, key: str = "", **body: object) -> anthropic.APIStatusError:
        with pytest.raises(anthropic.APIStatusError) as caught:
            world.anthropic(member, key=key).messages.create(
                **{"model": CLAUDE, **SHORT, "messages": turns(fresh_question()), **body}
            )
        assert caught.value.request_id == caught.value.response.headers["x-request-id"]
        assert caught.value.body["request_id"] == caught.value.request_id
        return caught.value

    poor = make_tenant(
        budgets=[{"scope": "tenant", "unit": "usd", "period": "month", "limit": "0.0000001", "mode": "hard"}]
    )
    found = {
        anthropic.AuthenticationError: refused(key="psr_0123456789abcdef_nobody"),
        anthropic.PermissionDeniedError: refused(make_tenant(key={"models": ["gpt-*"]})),
        anthropic.NotFoundError: refused(model="claude-9"),
        anthropic.BadRequestError: refused(messages=[]),
        anthropic.RateLimitError: refused(poor),
        anthropic.PaymentRequiredError: refused(model="unpriced-model"),
    }
    for kind, error in found.items():
        assert type(error) is kind
        assert json.loads(error.response.text)["type"] == "error"


def test_a_stream_that_breaks_raises(world: World, books: Books, make_deployment) -> None:
    deployment = make_deployment("anthropic")
    world.fault(fault="truncate_stream", match={"key": deployment.account_key}, after_chunks=4)
    with (
        world.anthropic().messages.stream(
            model=deployment.model, **SHORT, messages=turns("Write 60 words.")
        ) as stream,
        pytest.raises(anthropic.APIError, match="ended before"),
    ):
        stream.get_final_message()
    (attempt,) = books.settled(world.acme.id)
    assert books.row(attempt.request_id).usage_source == "estimated"
