"""One model at several accounts: who is asked how often, and what happens when one of them fails."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import openai
import pytest

from tests.api.conftest import ask, purser_of
from tests.books import Books
from tests.resilience.conftest import Spread
from tests.world import Member, World

MakeSpread = Callable[..., Spread]


def ask_often(world: World, member: Member, model: str, *, times: int) -> None:
    client = world.openai(member)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: ask(client, model=model, max_tokens=20), range(times)))


def test_it_works(world: World, books: Books, member: Member, make_spread: MakeSpread) -> None:
    """Calls are shared out by weight; the invoices of all accounts together are the ledger."""
    spread = make_spread({"weight": 3}, {"weight": 1}, {"weight": 0})
    ask_often(world, member, spread.model, times=120)
    first, second, spare = spread.calls(books)
    assert (first + second, spare) == (120, 0)
    assert 62 <= first <= 116  # 90, give or take six deviations
    assert {row.provider for row in books.rows(member.id)} == {
        account.provider for account in spread.accounts[:2]
    }
    books.settled(member.id, count=120)
    books.check_invoice(member.id, [call for key in spread.keys for call in books.calls(key=key)])
    books.check_windows(member.id)


def test_an_account_that_fails_is_stood_in_for_at_once(
    world: World, books: Books, member: Member, make_spread: MakeSpread
) -> None:
    spread = make_spread({"weight": 1000}, {"weight": 0.001})
    world.fault(fault="status:500", match={"key": spread.keys[0]}, times=-1)
    answer = ask(world.openai(member), model=spread.model, max_tokens=20)
    request_id = purser_of(answer)["request_id"]
    assert answer.headers["x-purser-model"] == spread.model
    assert spread.calls(books) == [1, 1]
    attempts = books.settled(member.id, count=2)
    assert [attempt.state for attempt in attempts] == ["voided", "captured"]
    assert [attempt.provider for attempt in attempts] == [one.provider for one in spread.accounts]
    receipt = books.log(request_id).receipt
    assert [attempt["why"] for attempt in receipt["attempts"]] == [
        "first choice",
        "another account after provider_error (500)",
    ]
    (account,) = [step for step in receipt["steps"] if step["step"] == "account"]
    assert [one["weight"] for one in account["considered"]] == [1000, 0.001]
    books.check_windows(member.id)


def test_an_account_that_keeps_failing_gets_no_more_calls(
    world: World, books: Books, member: Member, make_spread: MakeSpread
) -> None:
    spread = make_spread({}, {})
    world.fault(fault="status:500", match={"key": spread.keys[0]}, times=-1)
    ask_often(world, member, spread.model, times=60)
    failing, well = spread.calls(books)
    assert well == 60
    assert failing <= 20  # two workers, five failures each until it rests; probes
    assert {attempt.state for attempt in books.settled(member.id)} == {"voided", "captured"}


def test_a_resting_account_is_skipped_without_a_call_and_the_receipt_says_so(
    world: World, books: Books, member: Member, make_spread: MakeSpread
) -> None:
    spread = make_spread({"weight": 1000}, {"weight": 0})
    for key in spread.keys:
        world.fault(fault="status:500", match={"key": key}, times=-1)
    refused = None
    for _ in range(12):
        with pytest.raises(openai.APIStatusError) as caught:
            ask(world.openai(member), model=spread.model, max_tokens=20)
        refused = caught.value
    assert refused is not None
    receipt = books.log(refused.response.headers["x-request-id"]).receipt
    skipped = [step for step in receipt["steps"] if step["step"] == "hop"]
    assert [step["reason"] for step in skipped] == ["keeps failing, given a rest"] * 2
    assert receipt["attempts"] == []
    assert int(refused.response.headers["retry-after"]) >= 1


def test_an_account_at_its_limits_is_passed_over_while_another_is_free(
    world: World, books: Books, member: Member, make_spread: MakeSpread
) -> None:
    spread = make_spread({"weight": 1000, "limits": {"rpm": 10}}, {"weight": 0.001})
    ask_often(world, member, spread.model, times=12)
    limited, free = spread.calls(books)
    assert limited + free == 12
    assert 1 <= limited <= 4  # one at once, then nine a minute
    receipts = [log.receipt for log in _logs(member)]
    passed_over = [step for receipt in receipts for step in receipt["steps"] if step["step"] == "hop"]
    assert {step["reason"] for step in passed_over} == {"at the limits of its account"}
    assert len(passed_over) >= free


def test_an_account_of_another_protocol_answers_as_well(
    world: World, books: Books, member: Member, make_spread: MakeSpread
) -> None:
    """The accounts of a model need not speak the same protocol: each hop is translated for itself."""
    from llm.configuration import apply_configuration

    spread = make_spread({"weight": 1000}, {"weight": 0, "upstream": "claude-haiku-4-5"})
    other = {
        "name": spread.accounts[1].provider,
        "kind": "anthropic",
        "base_url": world.stack.sandbox_url,
        "api_key": spread.keys[1],
    }
    apply_configuration(json.dumps({"providers": [other]}), source="kind.yaml", environ={})
    world.fault(fault="status:503", match={"key": spread.keys[0]}, times=-1)
    answer = ask(world.openai(member), model=spread.model, max_tokens=20)
    assert answer.parse().choices[0].message.content
    (call,) = books.calls(key=spread.keys[1])
    assert (call["path"], call["model"]) == ("/v1/messages", "claude-haiku-4-5")
    books.settled(member.id, count=2)
    books.check_windows(member.id)


def test_an_account_with_prices_of_its_own_is_billed_at_them(
    world: World, books: Books, member: Member, make_spread: MakeSpread
) -> None:
    dear = [{"meter": "input", "usd_per_million": "100"}, {"meter": "output", "usd_per_million": "400"}]
    spread = make_spread({"weight": 0}, {"weight": 1, "prices": dear})
    answer = ask(world.openai(member), model=spread.model, max_tokens=20)
    row = books.row(purser_of(answer)["request_id"])
    assert row.provider == spread.accounts[1].provider
    assert row.billed_cost == Decimal(row.input_tokens * 100 + row.output_tokens * 400) / 1_000_000


def test_a_provider_budget_that_is_used_up_leaves_the_other_accounts(
    world: World, books: Books, make_tenant: Callable[..., Member], make_spread: MakeSpread
) -> None:
    spread = make_spread({"weight": 1000}, {"weight": 0})
    member = make_tenant(
        budgets=[
            {
                "scope": "provider",
                "value": spread.accounts[0].provider,
                "unit": "tokens",
                "period": "day",
                "limit": 1,
                "mode": "hard",
            }
        ]
    )
    answer = ask(world.openai(member), model=spread.model, max_tokens=20)
    assert spread.calls(books) == [0, 1]
    receipt = books.log(purser_of(answer)["request_id"]).receipt
    (skipped,) = [step for step in receipt["steps"] if step["step"] == "hop"]
    assert skipped["provider"] == spread.accounts[0].provider
    assert skipped["reason"].startswith("budget_exceeded: ")


def test_a_fallback_that_does_not_fit_the_budget_is_skipped_with_that_reason(
    world: World, books: Books, make_tenant: Callable[..., Member], make_deployment: Callable
) -> None:
    dear = make_deployment(
        prices=[{"meter": "input", "usd_per_million": "1000"}, {"meter": "output", "usd_per_million": "9000"}]
    )
    cheap = make_deployment()
    first = make_deployment(fallbacks=[dear.model, cheap.model])
    member = make_tenant(
        budgets=[{"scope": "tenant", "unit": "usd", "period": "month", "limit": "0.05", "mode": "hard"}]
    )
    world.fault(fault="status:500", match={"key": first.account_key}, times=-1)
    answer = ask(world.openai(member), model=first.model, max_tokens=60)
    assert purser_of(answer)["model"] == cheap.model
    assert books.calls(key=dear.account_key) == []
    receipt = books.log(purser_of(answer)["request_id"]).receipt
    (skipped,) = [step for step in receipt["steps"] if step["step"] == "hop"]
    assert (skipped["model"], skipped["outcome"]) == (dear.model, "skipped")
    assert skipped["reason"].startswith("budget_exceeded: ")
    assert [attempt["why"] for attempt in receipt["attempts"]] == [
        "first choice",
        *["again after provider_error (500)"] * 2,
        "fallback after provider_error (500)",
    ]
    books.settled(member.id, count=4)
    books.check_windows(member.id)


def _logs(member: Member) -> list:
    from llm.models import RequestLog
    from tests.books import eventually

    return eventually(
        lambda: list(RequestLog.objects.filter(tenant_id=member.id)), until=lambda logs: len(logs) >= 12
    )
