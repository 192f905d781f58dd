"""What one tenant's rows wait for delays nobody else's, and is written down all the same."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from billing.ledger.holds import admit
from billing.ledger.periods import period_at
from billing.ledger.settlements import settle
from billing.models import Attempt, BillingPeriod, UsageRecord
from config import resources
from tenants.models import Tenant
from tests.billing.conftest import Account
from tests.billing.months.test_periods import ZONES, assert_tiled
from tests.orm import in_thread

MakeAccount = Callable[..., Account]

pytestmark = pytest.mark.usefixtures("loop_resources")


@asynccontextmanager
async def somebody_else() -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Another session, in a transaction that ends with the block."""
    url = f"{settings.DATABASE_URL.rpartition('/')[0]}/{connection.settings_dict['NAME']}"
    async with await psycopg.AsyncConnection.connect(url) as other:
        yield other


async def sent(account: Account, *, at: datetime) -> Any:
    attempt = account.attempt(at=at)
    await admit(attempt)
    return attempt


async def settled(attempt_id: Any) -> bool:
    state = (await in_thread(Attempt.objects.get, pk=attempt_id)).state
    return bool(state == "captured")


async def test_a_settlement_that_is_blocked_delays_no_other_and_is_not_lost(
    make_account: MakeAccount,
) -> None:
    blocked, free = await in_thread(make_account), await in_thread(make_account)
    here, there = await sent(blocked, at=datetime.now(UTC)), await sent(free, at=datetime.now(UTC))
    async with somebody_else() as other:
        await other.execute("SELECT FROM billing_attempt WHERE id = %s FOR UPDATE", [here.id])
        await asyncio.gather(*(settle(one.settlement(of.id)) for one, of in ((blocked, here), (free, there))))
        async with asyncio.timeout(60):
            while not await settled(there.id):
                await asyncio.sleep(0.2)
        assert not await settled(here.id)
        later = await sent(free, at=datetime.now(UTC))
        await settle(free.settlement(later.id))
        assert await settled(later.id)
    async with asyncio.timeout(60):
        while not await settled(here.id):
            await asyncio.sleep(0.2)


async def test_a_late_row_does_not_wait_for_its_month_to_be_closed(make_account: MakeAccount) -> None:
    account = await in_thread(make_account)
    at = datetime.now(UTC) - timedelta(days=40)
    late = await sent(account, at=at)
    tenant = await in_thread(Tenant.objects.get, pk=account.tenant_id)
    period = await in_thread(lambda: period_at(tenant, at=at))
    await in_thread(BillingPeriod.objects.filter(pk=period.pk).update, status="closing")
    async with somebody_else() as other:
        await other.execute("SELECT FROM billing_billingperiod WHERE id = %s FOR UPDATE", [period.pk])
        await settle(account.settlement(late.id))
        assert await settled(late.id)
    record = await in_thread(UsageRecord.objects.select_related("period").get, pk=late.id)
    assert (record.charge_class, record.period.status) == ("Correction", "open")


async def test_the_gateways_statements_have_limits() -> None:
    async with resources.db.connection() as pooled:
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        rows = [await (await pooled.execute(f"SHOW {name}")).fetchone() for name in names]
    assert "0" not in [row[0] for row in rows if row]


@pytest.mark.parametrize("seed", range(3))
async def test_tenants_that_move_while_calls_settle_have_every_call_in_one_month(
    make_account: MakeAccount, seed: int
) -> None:
    random = Random(seed)
    accounts = [await in_thread(make_account) for _ in range(4)]
    calls = []

    async def move() -> None:
        for _ in range(25):
            account, zone = random.choice(accounts), random.choice(ZONES)
            await in_thread(Tenant.objects.filter(pk=account.tenant_id).update, timezone=zone)
            await asyncio.sleep(random.random() / 50)

    async def call(account: Account) -> None:
        for _ in range(25):
            edge = datetime(2026, random.randint(1, 12), 1, tzinfo=UTC)
            attempt = account.attempt(at=edge + timedelta(hours=random.uniform(-30, 30)))
            await admit(attempt)
            calls.append((account, attempt))
            await settle(account.settlement(attempt.id))

    async with asyncio.timeout(120):
        await asyncio.gather(move(), *(call(account) for account in accounts))
        for _, attempt in calls:
            while not await settled(attempt.id):
                await asyncio.sleep(0.1)
    for account in accounts:
        await in_thread(assert_tiled, await in_thread(Tenant.objects.get, pk=account.tenant_id))
    for _, attempt in calls:
        record = await in_thread(UsageRecord.objects.select_related("period").get, pk=attempt.id)
        assert record.period.starts_at <= record.occurred_at < record.period.ends_at
        assert record.charge_class == ""
