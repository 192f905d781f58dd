"""Messages, responses, embeddings and models through the real SDKs, and models of one provider through the other's."""

import json
from decimal import Decimal

import anthropic
import openai
import pytest

from tests.api.conftest import ask, ask_claude, events_of, fresh_question, purser_of, turns
from tests.books import Books
from tests.world import World


def check_row(books: Books, block: dict, *, model: str, endpoint: str) -> None:
    """The ledger's row says what the `purser` object says."""
    row = books.row(block["request_id"])
    assert (row.model, row.endpoint, row.usage_source) == (model, endpoint, "provider")
    assert row.billed_cost == Decimal(block["cost_usd"]) > 0
    assert row.input_tokens + row.cache_read_tokens + row.cache_write_tokens == block["tokens"]["input"]
    assert row.output_tokens == block["tokens"]["output"]


def test_it_works(world: World, books: Books) -> None:
    answer = ask_claude(world.anthropic(), metadata={"user_id": "alice"})
    message = answer.parse()
    assert message.content[0].text
    assert message.usage.output_tokens > 0
    block = purser_of(answer)
    check_row(books, block, model="claude-haiku-4-5", endpoint="/v1/messages")
    assert books.row(block["request_id"]).user_id == "alice"
    for name in ("x-purser-cost-usd", "x-purser-list-cost-usd", "x-purser-cache", "x-purser-model"):
        assert answer.headers[name], name
    assert answer.headers["x-request-id"] == block["request_id"]
    assert "provider;dur=" in answer.headers["server-timing"]


def test_messages_are_streamed(world: World, books: Books) -> None:
    with world.anthropic().messages.with_streaming_response.create(
        model="claude-haiku-4-5", max_tokens=100, messages=turns(fresh_question()), stream=True
    ) as response:
        events = events_of("\n".join(response.iter_lines()))
    assert events[0]["type"] == "message_start"
    assert events[-1]["type"] == "message_stop"
    assert events[-1]["purser"]["request_id"] == response.headers["x-request-id"]
    check_row(books, events[-1]["purser"], model="claude-haiku-4-5", endpoint="/v1/messages")


def test_the_streaming_helper_of_anthropic_works(world: World) -> None:
    for model in ("claude-haiku-4-5", "gpt-4o-mini"):
        with world.anthropic().messages.stream(
            model=model, max_tokens=100, messages=turns(fresh_question())
        ) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert final.content[0].text == text != ""
        assert final.stop_reason in ("end_turn", "max_tokens")
        assert final.usage.output_tokens > 0


def test_a_claude_model_answers_the_openai_sdk(world: World, books: Books) -> None:
    client = world.openai()
    answer = ask(client, model="claude-haiku-4-5", max_tokens=100)
    completion = answer.parse()
    assert completion.choices[0].message.content
    assert (
        completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    )
    check_row(books, purser_of(answer), model="claude-haiku-4-5", endpoint="/v1/chat/completions")
    chunks = list(
        client.chat.completions.create(
            model="claude-haiku-4-5", messages=turns(fresh_question()), stream=True, max_tokens=100
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    check_row(books, chunks[-1].purser, model="claude-haiku-4-5", endpoint="/v1/chat/completions")


def test_a_gpt_model_answers_the_anthropic_sdk(world: World, books: Books) -> None:
    answer = ask_claude(world.anthropic(), model="gpt-4o-mini")
    assert answer.parse().content[0].text
    check_row(books, purser_of(answer), model="gpt-4o-mini", endpoint="/v1/messages")


def test_responses_are_answered_whole_and_streamed(world: World, books: Books) -> None:
    client = world.openai()
    for model in ("gpt-4o-mini", "claude-haiku-4-5"):
        raw = client.responses.with_raw_response.create(model=model, input=fresh_question(), user="alice")
        assert raw.parse().output_text
        check_row(books, purser_of(raw), model=model, endpoint="/v1/responses")
        events = list(client.responses.create(model=model, input=fresh_question(), stream=True))
        assert events[-1].type == "response.completed"
        assert events[-1].response.output_text
        check_row(books, events[-1].purser, model=model, endpoint="/v1/responses")


def test_embeddings_are_billed(world: World, books: Books) -> None:
    raw = world.openai().embeddings.with_raw_response.create(
        model="text-embedding-3-small", input=["one", "two"], encoding_format="float"
    )
    answer = raw.parse()
    assert [item.index for item in answer.data] == [0, 1]
    assert len(answer.data[0].embedding) == 1536
    row = books.row(raw.headers["x-request-id"])
    assert (row.model, row.input_tokens, row.output_tokens) == (
        "text-embedding-3-small",
        answer.usage.prompt_tokens,
        0,
    )
    assert row.billed_cost == Decimal(raw.headers["x-purser-cost-usd"]) > 0


def test_embeddings_come_in_base64_as_the_sdk_asks(world: World) -> None:
    answer = world.openai().embeddings.create(model="text-embedding-3-small", input="one", dimensions=256)
    assert len(answer.data[0].embedding) == 256


def test_models_are_listed_in_either_shape(world: World) -> None:
    ids = {model.id for model in world.openai().models.list()}
    assert {"gpt-4o-mini", "claude-haiku-4-5", "text-embedding-3-small"} <= ids
    assert world.openai().models.retrieve("gpt-4o").id == "gpt-4o"
    assert "claude-haiku-4-5" in {model.id for model in world.anthropic().models.list()}
    assert world.anthropic().models.retrieve("claude-haiku-4-5").type == "model"
    with pytest.raises(openai.NotFoundError):
        world.openai().models.retrieve("gpt-9")


def test_a_structured_answer_follows_its_schema(world: World) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["city", "people"],
        "additionalProperties": False,
    }
    completion = world.openai().chat.completions.create(
        model="gpt-4o-mini",
        messages=turns("Name a city and how many people live there, as JSON."),
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "city", "schema": schema, "strict": True},
        },
    )
    answer = json.loads(completion.choices[0].message.content)
    assert set(answer) == {"city", "people"}


def test_tokens_are_counted_without_a_call(world: World, books: Books, make_deployment) -> None:
    deployment = make_deployment("anthropic")
    count = world.anthropic().messages.count_tokens(
        model=deployment.model, messages=turns("Hello, how are you?")
    )
    assert 4 < count.input_tokens < 40
    assert books.calls(key=deployment.account_key) == []


def test_what_cannot_be_translated_is_refused_by_name(world: World) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(world.openai(), model="claude-haiku-4-5", n=2)
    assert caught.value.param == "n"
    assert caught.value.code == "invalid_request"


def test_a_tool_runs_through_the_anthropic_sdk(world: World) -> None:
    tool = {
        "name": "get_weather",
        "description": "The weather of a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
    for model in ("claude-haiku-4-5", "gpt-4o-mini"):
        question = turns("What is the weather in Berlin? Use the tool get_weather.")
        client: anthropic.Anthropic = world.anthropic()
        first = client.messages.create(
            model=model, max_tokens=200, messages=question, tools=[tool], tool_choice={"type": "any"}
        )
        (use,) = [block for block in first.content if block.type == "tool_use"]
        assert (use.name, first.stop_reason) == ("get_weather", "tool_use")
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "12 degrees, rain"}
        answer = client.messages.create(
            model=model,
            max_tokens=200,
            tools=[tool],
            messages=[
                *question,
                {"role": "assistant", "content": [block.model_dump() for block in first.content]},
                {"role": "user", "content": [result]},
            ],
        )
        assert answer.content[0].type == "text"
