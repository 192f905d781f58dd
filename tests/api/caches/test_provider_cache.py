"""Long stable prefixes are marked for Anthropic's prompt cache, whoever asks; the receipt says what that saved."""

import secrets
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.api.conftest import ask, ask_claude, fresh_question, purser_of, turns
from tests.books import Books
from tests.world import Member, World

MODEL = "claude-haiku-4-5"
MILLION = Decimal(1_000_000)
# USD per million tokens, beside plain input at 1 USD
WRITE_PREMIUM, READ_DISCOUNT = Decimal("0.25"), Decimal("0.90")


def long_rules() -> str:
    """A system prompt of several thousand tokens that nobody sent before."""
    return f"Rules {secrets.token_hex(8)}. " + "Be polite, be brief, and never promise a refund. " * 500


def by_chat(world: World, rules: str) -> Any:
    client = world.openai()
    question = [{"role": "system", "content": rules}, *turns(fresh_question())]
    return client.chat.completions.with_raw_response.create(model=MODEL, messages=question, max_tokens=50)


def by_chat_streamed(world: World, rules: str) -> Any:
    client = world.openai()
    question = [{"role": "system", "content": rules}, *turns(fresh_question())]
    chunks = list(client.chat.completions.create(model=MODEL, messages=question, max_tokens=50, stream=True))
    return chunks[-1].purser


def by_responses(world: World, rules: str) -> Any:
    client = world.openai()
    return client.responses.with_raw_response.create(model=MODEL, instructions=rules, input=fresh_question())


def by_messages(world: World, rules: str) -> Any:
    return ask_claude(world.anthropic(), system=rules)


def step_of(world: World, books: Books, block: dict[str, Any]) -> list[dict[str, Any]]:
    """What the receipt says of the provider's cache."""
    books.log(block["request_id"])
    status, receipt = world.get(f"/v1/requests/{block['request_id']}")
    assert status == 200
    return [step for step in receipt["steps"] if step["step"] == "provider_cache"]


@pytest.mark.parametrize("way", [by_messages, by_chat, by_chat_streamed, by_responses])
def test_the_second_call_reads_what_the_first_wrote(
    world: World, books: Books, way: Callable[[World, str], Any]
) -> None:
    rules = long_rules()
    first, second = (
        answer if isinstance(answer, dict) else purser_of(answer)
        for answer in (way(world, rules), way(world, rules))
    )
    wrote, read = books.row(first["request_id"]), books.row(second["request_id"])
    assert wrote.cache_write_tokens > 4000
    assert wrote.cache_read_tokens == 0
    assert (read.cache_read_tokens, read.cache_write_tokens) == (wrote.cache_write_tokens, 0)
    (written,) = step_of(world, books, first)
    assert (written["outcome"], written["marked_by"]) == ("written", "us")
    assert Decimal(written["saved_usd"]) == -wrote.cache_write_tokens * WRITE_PREMIUM / MILLION
    (gained,) = step_of(world, books, second)
    assert (gained["outcome"], gained["marked_by"]) == ("read", "us")
    assert Decimal(gained["saved_usd"]) == read.cache_read_tokens * READ_DISCOUNT / MILLION
    assert Decimal(read.saving["provider_cache"]) == Decimal(gained["saved_usd"])
    assert Decimal(second["saved_usd"]) >= Decimal(gained["saved_usd"]) > 0


def test_a_tenant_may_switch_it_off(world: World, books: Books, make_tenant: Callable[..., Member]) -> None:
    world.acme = make_tenant("unmarked", policy={"cache": {"semantic": "off", "provider_marks": False}})
    block = purser_of(by_chat(world, long_rules()))
    row = books.row(block["request_id"])
    assert (row.cache_read_tokens, row.cache_write_tokens) == (0, 0)
    assert step_of(world, books, block) == []


def test_a_short_prompt_is_left_alone(world: World, books: Books) -> None:
    block = purser_of(ask(world.openai(), model=MODEL))
    assert books.row(block["request_id"]).cache_write_tokens == 0
    assert step_of(world, books, block) == []


def test_the_marks_of_a_client_are_its_own(world: World, books: Books) -> None:
    system = [{"type": "text", "text": long_rules(), "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    block = purser_of(ask_claude(world.anthropic(), system=system))
    assert books.meters(books.row(block["request_id"]))["cache_write_1h"] > 4000
    (step,) = step_of(world, books, block)
    assert step["marked_by"] == "client or provider"


def test_a_conversation_is_read_as_far_as_it_went(world: World, books: Books) -> None:
    rules = long_rules()
    messages: list[dict[str, Any]] = [{"role": "system", "content": rules}]
    rows = []
    for _ in range(3):
        messages += turns(fresh_question())
        raw = world.openai().chat.completions.with_raw_response.create(
            model=MODEL, messages=messages, max_tokens=50
        )
        messages.append({"role": "assistant", "content": raw.parse().choices[0].message.content})
        rows.append(books.row(purser_of(raw)["request_id"]))
    assert rows[0].cache_read_tokens == 0
    assert rows[1].cache_read_tokens == rows[0].cache_write_tokens
    assert rows[2].cache_read_tokens == rows[1].cache_read_tokens + rows[1].cache_write_tokens
    assert rows[1].cache_write_tokens > 0
