"""What a crash leaves open is ended as if its worker had."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.ledger.holds import admit
from billing.ledger.reaper import Reaped, reap
from billing.ledger.settlements import progress, settle
from billing.models import Attempt, BillingPeriod, BudgetWindow, PriceRow, UsageRecord
from llm.steps.streams import progress as stream_progress
from tests.billing.conftest import Account
from tests.orm import in_thread

MakeAccount = Callable[..., Account]

pytestmark = pytest.mark.usefixtures("loop_resources")


async def expire(account: Account) -> Reaped:
    """Let the attempts of a tenant be past their time, and reap."""

    def work() -> Reaped:
        past = datetime.now(UTC) - timedelta(seconds=1)
        Attempt.objects.filter(tenant_id=account.tenant_id).update(expires_at=past)
        return reap()

    return await in_thread(work)


async def ended(account: Account) -> tuple[list[Any], list[Any], Any]:
    def read() -> tuple[list[Any], list[Any], Any]:
        attempts = list(Attempt.objects.filter(tenant_id=account.tenant_id).order_by("pk"))
        records = list(UsageRecord.objects.filter(tenant_id=account.tenant_id).order_by("id"))
        return attempts, records, BudgetWindow.objects.filter(tenant_id=account.tenant_id).first()

    return await in_thread(read)


async def test_it_works(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    await admit(account.attempt(usd="0.3", tokens=500))
    reaped = await expire(account)
    (attempt,), (record,), window = await ended(account)
    assert reaped.estimated >= 1
    assert (attempt.state, record.usage_source, record.billed_cost) == (
        "estimated",
        "estimated",
        Decimal("0.3"),
    )
    assert (window.held, window.spent) == (0, Decimal("0.3"))
    assert await expire(account) == Reaped()


async def test_a_call_that_is_not_past_its_time_is_left_alone(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    await admit(account.attempt(usd="0.3"))
    await in_thread(reap)
    (attempt,), records, _ = await ended(account)
    assert (attempt.state, records) == ("sent", [])


async def test_what_never_went_out_gives_its_hold_back(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    await admit(account.attempt(usd="0.3", is_sent=False))
    await expire(account)
    (attempt,), records, window = await ended(account)
    assert (attempt.state, attempt.void_reason, records, window.held) == ("voided", "never sent", [], 0)


async def test_a_stream_is_billed_from_what_it_produced(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    model = f"gpt-{account.slug}"

    def set_prices() -> None:
        for meter, usd in (("input", 1), ("output", 5)):
            PriceRow.objects.create(
                provider="openai",
                model=model,
                meter=meter,
                unit_price=usd,
                valid_from=datetime(2026, 1, 1, tzinfo=UTC),
                source="test",
            )

    await in_thread(set_prices)
    attempt = account.attempt(usd="0.3")
    attempt = type(attempt)(
        **{name: getattr(attempt, name) for name in attempt.__dataclass_fields__} | {"model": model}
    )
    await admit(attempt)
    await progress(attempt.id, {"input_tokens": 1000, "output_tokens": 200})
    await expire(account)
    _, (record,), window = await ended(account)
    assert (record.billed_cost, record.input_tokens, record.output_tokens) == (Decimal("0.002"), 1000, 200)
    assert window.spent == Decimal("0.002")


async def test_usage_that_comes_after_the_reaper_is_a_correction(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt(usd="0.3")
    await admit(attempt)
    await expire(account)
    await settle(account.settlement(attempt.id))
    (row,), records, window = await ended(account)
    assert (row.state, window.spent) == ("captured", Decimal("0.002"))
    assert sorted(record.billed_cost for record in records) == [Decimal("-0.298"), Decimal("0.3")]


async def test_a_settlement_of_a_month_that_closes_is_a_correction_in_the_open_one(
    make_account: MakeAccount,
) -> None:
    account = await in_thread(make_account, {"period": "month", "limit": 1})
    last_month = datetime.now(UTC) - timedelta(days=35)
    first, late = account.attempt(at=last_month), account.attempt(at=last_month)
    await asyncio.gather(admit(first), admit(late))
    await settle(account.settlement(first.id))

    def close() -> BillingPeriod:
        periods = BillingPeriod.objects.filter(tenant_id=account.tenant_id)
        periods.update(status="closing")
        return periods.get()

    closed = await in_thread(close)
    await settle(account.settlement(late.id))
    _, records, window = await ended(account)
    (correction,) = [record for record in records if record.id == late.id]
    assert (correction.charge_class, correction.occurred_at) == ("Correction", late.occurred_at)
    assert correction.period_id != closed.pk
    assert window.spent == Decimal("0.004")


async def test_reapers_and_settlements_at_once_end_each_attempt_once(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 10})
    attempts = [account.attempt(usd="0.01", ttl_seconds=0) for _ in range(60)]
    await asyncio.gather(*(admit(attempt) for attempt in attempts))
    await asyncio.gather(
        *(in_thread(reap) for _ in range(3)),
        *(settle(account.settlement(attempt.id)) for attempt in attempts),
    )
    rows, records, window = await ended(account)
    assert {row.state for row in rows} == {"captured"}
    assert len([record for record in records if record.kind == "usage"]) == 60
    assert sum(record.billed_cost for record in records) == window.spent == Decimal("0.12")
    assert window.held == 0


async def test_a_stream_notes_its_first_byte_at_once(make_account: MakeAccount) -> None:
    """A worker that dies right after it is billed by what was produced, not by the hold."""
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt()
    await admit(attempt)
    keeper = asyncio.create_task(
        stream_progress.keep(
            attempt.id,
            input_tokens=1000,
            output_tokens=lambda: 3,
            every_seconds=3600,
        )
    )
    try:
        while (await in_thread(Attempt.objects.get, id=attempt.id)).progress is None:
            await asyncio.sleep(0.05)
    finally:
        keeper.cancel()
    row = await in_thread(Attempt.objects.get, id=attempt.id)
    assert row.progress == {"input_tokens": 1000, "output_tokens": 3}
