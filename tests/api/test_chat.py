"""`POST /v1/chat/completions` through the OpenAI SDK: whole, streamed, and what the books say of it."""

import json
from decimal import Decimal

from tests.api.conftest import ask, fresh_question, purser_of, turns
from tests.books import Books
from tests.world import World


def test_it_works(world: World, books: Books) -> None:
    answer = ask(world.openai(), user="alice", max_tokens=50)
    completion = answer.parse()
    assert completion.choices[0].message.content
    assert completion.model.startswith("gpt-4o-mini")
    row = books.row(answer.headers["x-request-id"])
    assert (row.usage_source, row.user_id, row.cost_center) == ("provider", "alice", "4711")
    assert row.input_tokens == completion.usage.prompt_tokens
    assert row.output_tokens == completion.usage.completion_tokens
    assert row.billed_cost == Decimal(answer.headers["x-purser-cost-usd"]) > 0
    assert books.settled(world.acme.id)[0].state == "captured"


def test_every_header_of_the_contract_is_there(world: World, make_tenant) -> None:
    member = make_tenant(
        budgets=[{"scope": "tenant", "unit": "usd", "period": "month", "limit": "10", "mode": "hard"}]
    )
    answer = ask(world.openai(member), model="auto")
    block = purser_of(answer)
    headers = answer.headers
    assert block["request_id"] == headers["x-request-id"]
    assert block["cost_usd"] == headers["x-purser-cost-usd"]
    assert block["list_cost_usd"] == headers["x-purser-list-cost-usd"]
    assert block["cache"] == headers["x-purser-cache"] == "miss"
    assert block["model"] == headers["x-purser-model"]
    assert headers["x-purser-route"].startswith(block["route"]["tier"])
    assert headers["x-purser-budget-remaining"].startswith(block["budget_remaining"]["remaining"])
    assert "tenant budget of 10 USD per month" in headers["x-purser-budget-remaining"]
    assert Decimal(block["budget_remaining"]["remaining"]) == 10 - Decimal(block["cost_usd"])
    assert headers["server-timing"].startswith("purser;dur=")
    assert "provider;dur=" in headers["server-timing"]


def test_the_providers_bytes_pass_unchanged(world: World) -> None:
    answer = ask(world.openai(), extra_body={"seed": 7, "metadata": {"ticket": "4711"}})
    body = json.loads(answer.content)
    assert list(body)[-1] == "purser"
    assert {"id", "object", "created", "model", "choices", "usage"} <= set(body)
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 0, "audio_tokens": 0}


def test_a_stream_tells_its_cost_in_its_last_event(world: World, books: Books) -> None:
    client = world.openai()
    with client.chat.completions.with_streaming_response.create(
        model="gpt-4o-mini", messages=turns(fresh_question()), stream=True
    ) as response:
        lines = [line for line in response.iter_lines() if line.startswith("data: ")]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line[6:]) for line in lines[:-1]]
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])
    block = events[-1]["purser"]
    assert [event for event in events if "purser" in event] == [events[-1]]
    assert not [event for event in events if event.get("usage")]  # nobody asked for it
    assert block["request_id"] == response.headers["x-request-id"]
    assert response.headers["x-purser-cache"] == block["cache"] == "miss"
    assert response.headers["x-purser-model"] == block["model"] == "gpt-4o-mini"
    row = books.row(block["request_id"])
    assert row.usage_source == "provider"
    assert row.billed_cost == Decimal(block["cost_usd"]) > 0
    assert (row.input_tokens, row.output_tokens) == (block["tokens"]["input"], block["tokens"]["output"])


def test_a_stream_shows_its_usage_to_a_client_that_asks_for_it(world: World, books: Books) -> None:
    chunks = list(
        world.openai().chat.completions.create(
            model="gpt-4o-mini",
            messages=turns(fresh_question()),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].choices == []
    row = books.row(chunks[-1].purser["request_id"])
    assert (row.input_tokens, row.output_tokens) == (
        chunks[-1].usage.prompt_tokens,
        chunks[-1].usage.completion_tokens,
    )


def test_the_ledger_is_the_providers_invoice(world: World, books: Books, make_deployment) -> None:
    deployment = make_deployment()
    client = world.openai()
    for stream in (False, True):
        answer = ask(client, model=deployment.model, stream=stream)
        list(answer.parse()) if stream else answer.parse()
    books.settled(world.acme.id, count=2)
    calls = books.calls(key=deployment.account_key)
    assert [call["stream"] for call in calls] == [False, True]
    books.check_invoice(world.acme.id, calls)


def test_max_tokens_always_goes_out(world: World, books: Books, make_deployment) -> None:
    gpt, claude = make_deployment(), make_deployment("anthropic")
    client = world.openai()
    ask(client, model=gpt.model)
    ask(client, model=gpt.model, max_tokens=33)
    ask(client, model=gpt.model, max_completion_tokens=44)
    ask(client, model=claude.model)
    limits = [call["max_tokens"] for call in books.calls(key=gpt.account_key)]
    assert limits[0] > 0
    assert limits[1:] == [33, 44]
    assert books.calls(key=claude.account_key)[0]["max_tokens"] > 0
    for attempt in books.settled(world.acme.id, count=4):
        row = books.row(attempt.request_id)
        assert attempt.hold_usd >= row.billed_cost


def test_a_hold_covers_every_answer_of_n(world: World, books: Books) -> None:
    answer = ask(world.openai(), n=3, max_tokens=20)
    assert len(answer.parse().choices) == 3
    (attempt,) = books.settled(world.acme.id)
    row = books.row(answer.headers["x-request-id"])
    assert attempt.hold_usd >= row.billed_cost
    assert attempt.hold_tokens >= row.input_tokens + row.output_tokens


def test_tools_pass_both_ways(world: World) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
    question = turns("What is the weather in Berlin? Use the tool get_weather.")
    for model in ("gpt-4o-mini", "claude-haiku-4-5"):
        completion = world.openai().chat.completions.create(
            model=model, messages=question, tools=[tool], tool_choice="required"
        )
        (call,) = completion.choices[0].message.tool_calls
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments)["city"]
        assert completion.choices[0].finish_reason == "tool_calls"


def test_the_user_of_the_body_counts_and_the_header_wins(world: World, books: Books) -> None:
    client = world.openai()
    by_body = ask(client, user="bob")
    by_header = ask(client, user="bob", extra_headers={"x-purser-user": "alice"})
    assert books.row(by_body.headers["x-request-id"]).user_id == "bob"
    assert books.row(by_header.headers["x-request-id"]).user_id == "alice"


def test_feature_and_tags_stand_in_the_ledger(world: World, books: Books) -> None:
    headers = {"x-purser-feature": "search", "x-purser-tags": "project=apollo, team=red"}
    answer = ask(world.openai(), extra_headers=headers)
    row = books.row(answer.headers["x-request-id"])
    assert (row.feature, row.project) == ("search", "apollo")
    assert row.tags == {"project": "apollo", "team": "red"}
