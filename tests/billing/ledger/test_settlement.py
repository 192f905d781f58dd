"""Writing down what a call cost."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Sum

from billing.alerts.findings import count_findings
from billing.ledger import settlements as ledger
from billing.ledger.holds import admit
from billing.ledger.settlements import progress, record_hit, settle, void
from billing.models import AlertEvent, AlertRule, Attempt, BudgetWindow, RollupDirty, UsageLine, UsageRecord
from billing.prices.rating import Rated
from config import resources
from tests.billing.conftest import Account, new_id
from tests.orm import in_thread

MakeAccount = Callable[..., Account]

pytestmark = pytest.mark.usefixtures("loop_resources")


async def rows(account: Account, model: Any = UsageRecord, **which: Any) -> list[Any]:
    return await in_thread(lambda: list(model.objects.filter(tenant_id=account.tenant_id, **which)))


async def window(account: Account, **which: Any) -> BudgetWindow:
    return await in_thread(BudgetWindow.objects.get, tenant_id=account.tenant_id, **which)


async def state(attempt_id: Any) -> str:
    return (await in_thread(Attempt.objects.get, pk=attempt_id)).state


async def total(account: Account, model: Any = UsageRecord) -> Decimal:
    found = await in_thread(
        model.objects.filter(tenant_id=account.tenant_id).aggregate, total=Sum("billed_cost")
    )
    return found["total"]


async def test_it_works(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1}, {"unit": "tokens", "limit": 5000})
    attempt = account.attempt(
        usd="0.01",
        tokens=2000,
        dims={
            "endpoint": "chat",
            "project": "p",
            "cost_center": "4711",
            "tags": {"a": "b"},
            "model_asked": "auto",
        },
    )
    await admit(attempt)
    balances = await settle(
        account.settlement(attempt.id, raw_usage={"prompt_tokens": 1000}, upstream_id="req_1")
    )
    assert {balance.unit: (balance.spent, balance.held) for balance in balances} == {
        "usd": (Decimal("0.002"), 0),
        "tokens": (1200, 0),
    }
    (record,) = await rows(account)
    assert (record.id, record.occurred_at, record.billed_cost) == (
        attempt.id,
        attempt.occurred_at,
        Decimal("0.002"),
    )
    assert (record.input_tokens, record.output_tokens, record.usage_source) == (1000, 200, "provider")
    assert (record.user_id, record.project, record.cost_center, record.tags) == (
        "alice",
        "p",
        "4711",
        {"a": "b"},
    )
    assert (record.endpoint, record.model_asked, record.upstream_id) == ("chat", "auto", "req_1")
    lines = await rows(account, UsageLine)
    assert {(line.meter, line.quantity, line.billed_cost) for line in lines} == {
        ("input", 1000, Decimal("0.001")),
        ("output", 200, Decimal("0.001")),
    }
    assert await state(attempt.id) == "captured"
    assert len(await rows(account, RollupDirty)) == 1


async def test_an_attempt_is_settled_once_whatever_is_repeated(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempts = [account.attempt(usd="0.01") for _ in range(20)]
    await asyncio.gather(*(admit(attempt) for attempt in attempts))
    thrice = [account.settlement(attempt.id) for attempt in attempts] * 3
    await asyncio.gather(*(settle(settlement) for settlement in thrice))
    await settle(thrice[0])
    await void(attempts[0].id, reason="too late")
    assert len(await rows(account)) == 20
    after = await window(account)
    assert (after.held, after.spent) == (0, Decimal("0.04"))
    assert await total(account) == await total(account, UsageLine) == Decimal("0.04")


async def test_a_caller_that_is_cancelled_is_billed_all_the_same(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt()
    await admit(attempt)
    caller = asyncio.create_task(settle(account.settlement(attempt.id)))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await resources.drain()
    assert await state(attempt.id) == "captured"


async def test_a_void_gives_the_hold_back(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt(usd="1")
    await admit(attempt)
    (balance,) = await void(attempt.id, reason="provider_rejected")
    assert balance.remaining == 1
    assert (await state(attempt.id), await rows(account)) == ("voided", [])
    await admit(account.attempt(usd="1"))


async def test_what_came_out_dearer_than_its_hold_is_an_overrun(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt(usd="0.001")
    await admit(attempt)
    await settle(account.settlement(attempt.id))
    after = await window(account)
    assert (after.held, after.spent, after.overrun) == (0, Decimal("0.002"), Decimal("0.001"))


async def test_usage_that_comes_after_an_estimate_is_a_correction(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1}, {"unit": "tokens", "limit": 10_000})
    attempt = account.attempt(usd="0.05", tokens=4000)
    await admit(attempt)
    guess = account.settlement(
        attempt.id, read=1000, written=600, usage_source="estimated", saving={"routing": Decimal(1)}
    )
    await settle(guess)
    await settle(account.settlement(attempt.id, read=1000, written=200, saving={"compression": Decimal(2)}))
    await settle(account.settlement(attempt.id, read=1000, written=999))
    records = sorted(await rows(account), key=lambda record: record.seq)
    assert [(record.kind, record.billed_cost) for record in records] == [
        ("usage", Decimal("0.004")),
        ("correction", Decimal("-0.002")),
    ]
    assert records[1].corrects_id == records[0].id
    assert records[1].saving == {"routing": "-1", "compression": "2"}
    assert await total(account) == await total(account, UsageLine) == Decimal("0.002")
    assert (await window(account, unit="usd")).spent == Decimal("0.002")
    assert (await window(account, unit="tokens")).spent == 1200
    assert await state(attempt.id) == "captured"


async def test_usage_of_a_voided_attempt_is_written_down_all_the_same(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt()
    await admit(attempt)
    await void(attempt.id, reason="thought it failed")
    await settle(account.settlement(attempt.id))
    after = await window(account)
    assert (after.held, after.spent, len(await rows(account))) == (0, Decimal("0.002"), 1)


async def test_an_unknown_attempt_settles_nothing(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    assert await settle(account.settlement(new_id())) == []
    assert await rows(account) == []


async def test_a_hit_costs_nothing_and_says_what_it_saved(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    hit = account.hit()
    await record_hit(hit)
    (balance,) = await record_hit(hit)
    assert balance.remaining == 1
    (record,) = await rows(account)
    assert (record.billed_cost, record.list_cost, record.usage_source) == (
        0,
        Decimal("0.002"),
        "gateway_cache",
    )
    assert (record.input_tokens, record.saved_input_tokens, record.saved_output_tokens) == (0, 1000, 200)
    assert record.saving == {"gateway_cache": "0.002"}


async def test_progress_keeps_an_attempt_alive(make_account: MakeAccount) -> None:
    account = await in_thread(make_account)
    attempt = account.attempt(ttl_seconds=1)
    await admit(attempt)
    await progress(attempt.id, {"input_tokens": 10, "output_tokens": 5})
    await progress(attempt.id, {"input_tokens": 10, "output_tokens": 50})
    row = await in_thread(Attempt.objects.get, pk=attempt.id)
    assert row.progress == {"input_tokens": 10, "output_tokens": 50}
    assert row.expires_at > datetime.now(UTC) + timedelta(minutes=10)


async def test_a_threshold_of_a_budget_is_told_once(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": "0.010", "alert_at": [50, 80, 100]})
    for _ in range(5):
        attempt = account.attempt(usd="0.002")
        await admit(attempt)
        await settle(account.settlement(attempt.id))
    events = await rows(account, AlertEvent, metric="budget_percent")
    assert sorted(event.threshold for event in events) == [50, 80, 100]
    (first,) = [event for event in events if event.threshold == 50]
    assert "The tenant budget of 0.01 USD per day is used to 60" in first.message
    assert first.budget_id == account.budgets[0].id


async def test_a_rule_for_all_budgets_takes_the_place_of_the_same_threshold(
    make_account: MakeAccount,
) -> None:
    account = await in_thread(make_account, {"limit": "0.002", "alert_at": [80]})
    rule = await in_thread(
        AlertRule.objects.create, tenant_id=account.tenant_id, metric="budget_percent", threshold=80
    )
    attempt = account.attempt(usd="0.002")
    await admit(attempt)
    await settle(account.settlement(attempt.id))
    (event,) = await rows(account, AlertEvent)
    assert (event.rule_id, event.value) == (rule.pk, 100)


@pytest.mark.parametrize(("threshold", "expected"), [(None, 1), ("0.7", 0), ("0.1", 1)])
async def test_a_dear_request_is_told(
    make_account: MakeAccount, threshold: str | None, expected: int
) -> None:
    account = await in_thread(make_account)
    if threshold:
        await in_thread(
            AlertRule.objects.create,
            tenant_id=account.tenant_id,
            metric="request_cost",
            threshold=Decimal(threshold),
        )
    attempt = account.attempt(usd="2")
    await admit(attempt)
    await settle(account.settlement(attempt.id, read=100_000, written=100_000))
    await in_thread(count_findings)
    events = await rows(account, AlertEvent, metric="request_cost")
    assert len(events) == expected
    assert all(event.value == Decimal("0.6") for event in events)


async def test_usage_without_a_price_is_billed_at_its_hold_and_told(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt(usd="0.25")
    await admit(attempt)
    await settle(
        account.settlement(attempt.id, rated=Rated.lump(Decimal("0.25")), reason="no price for output_audio")
    )
    (record,) = await rows(account)
    assert (record.price_status, record.billed_cost) == ("unpriced", Decimal("0.25"))
    await in_thread(count_findings)
    (event,) = await rows(account, AlertEvent, metric="unpriced_usage")
    assert "no price for output_audio" in event.message


async def test_tenants_of_one_group_are_kept_apart(make_account: MakeAccount) -> None:
    one, two = await in_thread(lambda: (make_account({"limit": 1}), make_account({"limit": 1})))
    attempts = [(account, account.attempt()) for account in (one, two) for _ in range(5)]
    await asyncio.gather(*(admit(attempt) for _, attempt in attempts))
    await asyncio.gather(*(settle(account.settlement(attempt.id)) for account, attempt in attempts))
    assert await total(one) == await total(two) == Decimal("0.01")
    assert (await window(one)).spent == Decimal("0.01")


async def test_one_settlement_at_fault_does_not_fail_the_others(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempts = [account.attempt() for _ in range(3)]
    await asyncio.gather(*(admit(attempt) for attempt in attempts))
    settlements = [account.settlement(attempt.id) for attempt in attempts]
    settlements[1] = account.settlement(attempts[1].id, usage_source="nonsense")
    replies = await asyncio.gather(*(settle(one) for one in settlements), return_exceptions=True)
    assert [isinstance(reply, Exception) for reply in replies] == [False, True, False]
    assert (await window(account)).spent == Decimal("0.004")


async def test_settlements_wait_for_postgresql_to_come_back(
    make_account: MakeAccount, monkeypatch: Any
) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt()
    await admit(attempt)
    monkeypatch.setattr(ledger, "PATIENCE_SECONDS", 0.05)
    pool = resources.db
    resources.db = type(pool)(conninfo="postgresql://nobody@127.0.0.1:1/none", open=False, timeout=0.1)
    try:
        assert await settle(account.settlement(attempt.id)) == []
    finally:
        resources.db = pool
    await resources.drain()
    assert await state(attempt.id) == "captured"
    assert len(await rows(account)) == 1
