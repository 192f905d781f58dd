"""A stream that outgrows its hold: extended while every hard budget affords it, else cut cleanly."""

import itertools
import json
import secrets
from decimal import Decimal
from typing import Any

import pytest

from tests.api.conftest import events_of, turns
from tests.books import Books, eventually
from tests.world import Deployment, Member, World

_numbers = itertools.count(1)


def long_question() -> str:
    return f"Write 900 words about rivers, edition {next(_numbers)} of {secrets.token_hex(4)}."


def never_ending(world: World, deployment: Deployment, *, times: int = 1) -> None:
    """Have the provider ignore the limit it is sent."""
    world.fault(fault="ignore_max_tokens", match={"key": deployment.account_key}, times=times, delay_ms=3)


@pytest.fixture
def poor(make_tenant: Any) -> Member:
    """Room for a few hundred tokens."""
    return make_tenant(
        policy={"cache": {"exact": False, "semantic": "off"}},
        budgets=[
            {"scope": "tenant", "unit": "tokens", "period": "day", "limit": 500, "mode": "hard"},
            {"scope": "user", "unit": "usd", "period": "day", "limit": "1", "mode": "hard"},
        ],
    )


@pytest.fixture
def rich(make_tenant: Any) -> Member:
    return make_tenant(
        budgets=[{"scope": "tenant", "unit": "usd", "period": "day", "limit": "10", "mode": "hard"}]
    )


@pytest.fixture
def strict(make_tenant: Any) -> Member:
    """A tenant that wants no stream to outgrow its hold, whatever its budgets have left."""
    return make_tenant(
        policy={"budgets": {"stream_overrun": "cut"}},
        budgets=[{"scope": "tenant", "unit": "usd", "period": "day", "limit": "10", "mode": "hard"}],
    )


def stream(world: World, member: Member, deployment: Deployment, **options: Any) -> list[dict[str, Any]]:
    """The events of a chat stream."""
    with world.openai(member).chat.completions.with_streaming_response.create(
        model=deployment.model, messages=turns(long_question()), stream=True, **{"max_tokens": 50, **options}
    ) as response:
        text = "\n".join(response.iter_lines())
    assert text.rstrip().endswith("data: [DONE]")
    return events_of(text)


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(
        choice["delta"].get("content") or "" for event in events for choice in event.get("choices") or ()
    )


def finishes(events: list[dict[str, Any]]) -> list[str]:
    return [
        choice["finish_reason"]
        for event in events
        for choice in event.get("choices") or ()
        if choice["finish_reason"]
    ]


def test_it_works(world: World, poor: Member, make_deployment, books: Books) -> None:
    from llm.tokens.counting import count_text

    deployment = make_deployment()
    never_ending(world, deployment)
    events = stream(world, poor, deployment, user="alice")
    assert finishes(events) == ["length"]
    block = events[-1]["purser"]
    assert block["cut"] == "budget"
    (row,) = books.rows(poor.id)
    assert (row.usage_source, row.reason) == ("estimated", "cut: the hold was used up")
    assert row.output_tokens == block["tokens"]["output"] == count_text(text_of(events), "gpt-4o-mini")
    assert 50 < row.output_tokens < 560  # extended as far as the budget went, and cut there
    assert Decimal(block["cost_usd"]) == row.billed_cost
    (call,) = books.ended_calls(count=1, key=deployment.account_key)
    assert call["outcome"] == "disconnected"
    (attempt,) = books.settled(poor.id)
    assert attempt.state == "estimated"
    assert attempt.hold_tokens == 500
    assert all(window.held == 0 for window in books.windows(poor.id))


def test_the_last_tokens_of_a_budget_are_used(
    world: World, poor: Member, make_deployment, books: Books
) -> None:
    deployment = make_deployment()
    never_ending(world, deployment)
    stream(world, poor, deployment)
    (window,) = [window for window in books.windows(poor.id) if window.unit == "tokens"]
    assert 480 < window.spent <= 500 + 30  # what came between two looks is all that can be over
    assert window.overrun <= 30


def test_a_budget_that_affords_it_extends_the_stream_to_its_end(
    world: World, rich: Member, make_deployment, books: Books
) -> None:
    deployment = make_deployment()
    never_ending(world, deployment)
    events = stream(world, rich, deployment)
    assert finishes(events) == ["stop"]
    assert "cut" not in events[-1]["purser"]
    (row,) = books.rows(rich.id)
    assert row.usage_source == "provider"
    assert row.output_tokens > 600
    (attempt,) = books.settled(rich.id)
    assert attempt.state == "captured"
    assert attempt.hold_usd >= row.billed_cost
    (window,) = books.windows(rich.id)
    assert (window.held, window.spent, window.overrun) == (0, row.billed_cost, 0)
    receipt = books.log(row.request_id).receipt
    assert "extended" in [step["outcome"] for step in receipt["steps"] if step["step"] == "hold"]


def test_the_policy_can_cut_at_once(world: World, strict: Member, make_deployment, books: Books) -> None:
    deployment = make_deployment()
    never_ending(world, deployment)
    events = stream(world, strict, deployment, stream_options={"include_usage": True})
    assert finishes(events) == ["length"]
    assert events[-1]["purser"]["cut"] == "budget"
    (row,) = books.rows(strict.id)
    assert 50 < row.output_tokens < 90
    assert events[-1]["usage"]["completion_tokens"] == row.output_tokens
    log = books.log(row.request_id)
    assert log.error_code == "budget_exceeded"
    assert log.receipt["steps"][-1]["outcome"] == "cut"


def test_a_model_that_keeps_to_its_limit_is_never_cut(
    world: World, strict: Member, make_deployment, books: Books
) -> None:
    for kind in ("openai", "anthropic"):
        deployment = make_deployment(kind)
        for limit in (1, 16, 50, 200):
            events = stream(world, strict, deployment, max_tokens=limit)
            assert finishes(events) == ["length"]
            assert "cut" not in events[-1]["purser"]
    assert {row.usage_source for row in books.rows(strict.id)} == {"provider"}


def test_a_tenant_without_budgets_is_not_watched(world: World, make_deployment, books: Books) -> None:
    deployment = make_deployment()
    never_ending(world, deployment)
    assert finishes(stream(world, world.acme, deployment)) == ["stop"]


def test_messages_end_as_anthropics(world: World, strict: Member, make_deployment, books: Books) -> None:
    deployment = make_deployment("anthropic")
    never_ending(world, deployment)
    with world.anthropic(strict).messages.stream(
        model=deployment.model, max_tokens=50, messages=turns(long_question())
    ) as told:
        events = list(told)
        message = told.get_final_message()
    kinds = [event.type for event in events]
    assert message.stop_reason == "max_tokens"
    (delta,) = [event for event in events if event.type == "message_delta"]
    assert delta.purser["cut"] == "budget"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1
    (row,) = books.rows(strict.id)
    assert (row.usage_source, message.usage.output_tokens) == ("estimated", row.output_tokens)


def test_responses_end_as_incomplete(world: World, strict: Member, make_deployment, books: Books) -> None:
    deployment = make_deployment()
    never_ending(world, deployment)
    with world.openai(strict).responses.stream(
        model=deployment.model, max_output_tokens=50, input=long_question()
    ) as told:
        events = list(told)
    assert events[-1].type == "response.incomplete"
    last = events[-1].response
    assert (last.status, last.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert last.output_text == deltas
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert last.purser["cut"] == "budget"
    (row,) = books.rows(strict.id)
    assert last.usage.output_tokens == row.output_tokens


def test_legacy_completions_end_with_length(world: World, strict: Member, make_deployment) -> None:
    deployment = make_deployment()
    never_ending(world, deployment)
    told = list(
        world.openai(strict).completions.create(
            model=deployment.model, prompt=long_question(), max_tokens=50, stream=True
        )
    )
    assert [chunk.choices[0].finish_reason for chunk in told if chunk.choices][-1] == "length"


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_translated_streams_end_in_the_clients_protocol(
    world: World, strict: Member, make_deployment, kind: str
) -> None:
    deployment = make_deployment(kind)
    never_ending(world, deployment)
    if kind == "anthropic":
        events = stream(world, strict, deployment)
        assert finishes(events) == ["length"]
        assert events[-1]["purser"]["cut"] == "budget"
        return
    with world.anthropic(strict).messages.stream(
        model=deployment.model, max_tokens=50, messages=turns(long_question())
    ) as told:
        assert told.get_final_message().stop_reason == "max_tokens"


def test_a_cut_answer_is_not_remembered(world: World, strict: Member, make_deployment, books: Books) -> None:
    deployment = make_deployment()
    never_ending(world, deployment)
    question = long_question()
    options: dict[str, Any] = {"model": deployment.model, "max_tokens": 50, "messages": turns(question)}
    list(world.openai(strict).chat.completions.create(**options, stream=True))
    answer = world.openai(strict).chat.completions.with_raw_response.create(**options)
    assert answer.headers["x-purser-cache"] == "miss"


def test_a_cut_stream_is_replayed_as_it_was(
    world: World, strict: Member, make_deployment, books: Books
) -> None:
    deployment = make_deployment()
    never_ending(world, deployment)
    options: dict[str, Any] = {
        "model": deployment.model,
        "max_tokens": 50,
        "messages": turns(long_question()),
        "stream": True,
        "extra_headers": {"idempotency-key": "cut"},
    }
    first, second = (
        [chunk.model_dump() for chunk in world.openai(strict).chat.completions.create(**options)]
        for _ in range(2)
    )
    assert json.dumps(first) == json.dumps(second)
    assert len(books.rows(strict.id)) == 1


def test_eight_streams_together_use_a_budget_up_and_no_more(
    world: World, make_tenant, make_deployment, books: Books
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    member = make_tenant(
        policy={"cache": {"exact": False, "semantic": "off"}},
        budgets=[{"scope": "tenant", "unit": "tokens", "period": "day", "limit": 3000, "mode": "hard"}],
    )
    deployment = make_deployment()
    never_ending(world, deployment, times=8)
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: stream(world, member, deployment), range(8)))
    assert {finishes(events)[-1] for events in told} <= {"length", "stop"}
    assert any("cut" in events[-1]["purser"] for events in told)
    books.settled(member.id, count=8)
    (window,) = eventually(lambda: books.windows(member.id), until=lambda found: found[0].held == 0)
    assert 2700 < window.spent <= 3000 + 8 * 30
