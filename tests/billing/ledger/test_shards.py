"""Budgets whose windows are several rows: the same law, of their sum."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from billing.admin.budget_state import with_usage
from billing.alerts.outbox import notice_shards
from billing.budgets.balances import BudgetExceeded
from billing.budgets.raises import raise_budget
from billing.budgets.windows import load_budgets
from billing.ledger import window_ids
from billing.ledger.extensions import Extension, extend
from billing.ledger.holds import admit, balances_of
from billing.ledger.reaper import reap
from billing.ledger.settlements import SETTLE, settle, settle_parameters, void
from billing.models import AlertEvent, Attempt, Budget, BudgetWindow
from tests.billing.conftest import Account
from tests.orm import in_thread

MakeAccount = Callable[..., Account]
ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.usefixtures("loop_resources")


async def shards_of(account: Account) -> list[BudgetWindow]:
    return await in_thread(
        lambda: list(BudgetWindow.objects.filter(tenant_id=account.tenant_id).order_by("shard"))
    )


async def work_in(account: Account, shard: int) -> None:
    """Call as a worker does whose shard this is."""
    window_ids.forget_ids()
    await window_ids.ids_of(account.attempt().windows, worker=shard)


async def change(account: Account, **values: Any) -> None:
    await in_thread(Budget.objects.filter(tenant_id=account.tenant_id).update, **values)


async def is_refused(account: Account, usd: str) -> bool:
    try:
        await admit(account.attempt(usd=usd))
    except BudgetExceeded:
        return True
    return False


async def test_it_works(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1, "shards": 3})
    attempt = account.attempt(usd="0.1")
    (balance,) = await admit(attempt)
    assert (balance.limit, balance.held, balance.remaining) == (1, Decimal("0.1"), Decimal("0.9"))
    rows = await shards_of(account)
    assert [row.shard for row in rows] == [0, 1, 2]
    assert sum(row.allowance or 0 for row in rows) == 1
    (balance,) = await settle(account.settlement(attempt.id))
    assert (balance.spent, balance.held) == (Decimal("0.002"), 0)
    asked = await balances_of(
        account.tenant_id, budgets=account.budgets, timezone=account.timezone, at=datetime.now(UTC)
    )
    assert asked == [balance]


async def test_200_calls_of_four_processes_on_a_budget_that_fits_k_admit_exactly_k(
    make_account: MakeAccount, tests_database_url: str
) -> None:
    account = await in_thread(make_account, {"limit": "0.37", "shards": 4})
    order = json.dumps({"id": account.tenant_id, "slug": account.slug, "calls": 50})
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.billing.ledger.hold_caller", order],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": tests_database_url},
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    counts: Counter[str] = Counter()
    for process in processes:
        output, _ = await asyncio.to_thread(process.communicate)
        counts.update(json.loads(output.splitlines()[-1]))
    assert counts == {"admitted": 37, "refused": 163}
    rows = await shards_of(account)
    assert sum(row.held for row in rows) == Decimal("0.37")
    assert sum(row.allowance or 0 for row in rows) == Decimal("0.37")


async def test_room_that_lies_in_another_shard_is_room(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1, "shards": 4})
    for shard, usd in ((0, "0.4"), (1, "0.5"), (3, "0.06")):
        await work_in(account, shard)
        await admit(account.attempt(usd=usd))
    assert [row.held for row in await shards_of(account)] == [
        Decimal("0.4"),
        Decimal("0.5"),
        0,
        Decimal("0.06"),
    ]
    await work_in(account, 0)
    assert not await is_refused(account, "0.04")
    assert await is_refused(account, "0.01")


async def test_a_shard_with_room_is_the_only_row_that_is_locked(
    make_account: MakeAccount, tests_database_url: str
) -> None:
    account = await in_thread(make_account, {"limit": 1, "shards": 2})
    await work_in(account, 0)
    await admit(account.attempt(usd="0.01"))
    async with await psycopg.AsyncConnection.connect(tests_database_url) as other:
        query = "SELECT FROM billing_budgetwindow WHERE tenant_id = %s AND shard = 0 FOR UPDATE"
        await other.execute(query, [account.tenant_id])
        await work_in(account, 1)
        attempt = account.attempt(usd="0.4")
        await admit(attempt)
        await settle(account.settlement(attempt.id))
    assert [row.spent for row in await shards_of(account)] == [0, Decimal("0.002")]


async def test_a_refusal_locks_no_other_shard(make_account: MakeAccount, tests_database_url: str) -> None:
    account = await in_thread(make_account, {"limit": 1, "shards": 2})
    await work_in(account, 0)
    await admit(account.attempt(usd="0.9"))
    async with await psycopg.AsyncConnection.connect(tests_database_url) as other:
        query = "SELECT FROM billing_budgetwindow WHERE tenant_id = %s AND shard = 0 FOR UPDATE"
        await other.execute(query, [account.tenant_id])
        await work_in(account, 1)
        assert await is_refused(account, "0.2")


async def test_a_changed_limit_counts_at_once_in_every_shard(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1, "shards": 4})
    for shard in range(4):
        await work_in(account, shard)
        await admit(account.attempt(usd="0.1"))
    await change(account, limit_amount=Decimal("0.45"))
    await work_in(account, 2)
    assert await is_refused(account, "0.06")
    assert not await is_refused(account, "0.05")
    await change(account, limit_amount=Decimal("0.2"))
    for shard in range(4):
        await work_in(account, shard)
        assert await is_refused(account, "0.01")
    await change(account, limit_amount=Decimal(2))
    assert not await is_refused(account, "1.5")
    assert sum(row.allowance or 0 for row in await shards_of(account)) == 2


async def test_a_raise_counts_until_its_end_in_every_shard(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1, "shards": 2})
    await work_in(account, 0)
    await admit(account.attempt(usd="1"))
    budget = await in_thread(Budget.objects.get, tenant_id=account.tenant_id)
    ends_at = datetime.now(UTC) + timedelta(hours=1)
    raised = await in_thread(raise_budget, budget, extra_amount=Decimal(1), ends_at=ends_at, reason="launch")
    await work_in(account, 1)
    (balance,) = await admit(account.attempt(usd="0.5"))
    assert (balance.limit, balance.remaining) == (2, Decimal("0.5"))
    past = datetime.now(UTC) - timedelta(seconds=1)
    await in_thread(
        type(raised).objects.filter(pk=raised.pk).update, starts_at=past - timedelta(hours=1), ends_at=past
    )
    assert await is_refused(account, "0.01")


async def test_what_one_shard_overran_is_missing_in_the_others(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": "0.01", "shards": 2})
    await work_in(account, 0)
    attempt = account.attempt(usd="0.001")
    await admit(attempt)
    await settle(account.settlement(attempt.id, read=8000, written=200))  # 0.009
    await work_in(account, 1)
    assert await is_refused(account, "0.002")
    assert not await is_refused(account, "0.001")


async def test_a_budget_is_split_and_joined_while_it_is_used(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    await admit(account.attempt(usd="0.5"))
    await change(account, shards=4)
    split = Account(
        account.tenant_id, account.slug, account.timezone, await in_thread(load_budgets, account.tenant_id)
    )
    await admit(split.attempt(usd="0.3"))
    (balance,) = await admit(account.attempt(usd="0.1"))  # of a worker that does not know it yet
    assert balance.held == Decimal("0.9")
    assert await is_refused(split, "0.2")
    assert await is_refused(account, "0.2")
    await change(account, shards=1)
    assert not await is_refused(account, "0.1")
    assert await is_refused(split, "0.01")
    rows = await shards_of(account)
    assert sum(row.allowance or 0 for row in rows) == sum(row.held for row in rows) == 1


async def test_settlement_and_void_return_to_the_shard_that_held(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1, "shards": 2})
    attempts = [account.attempt(usd="0.1") for _ in range(4)]
    for number, attempt in enumerate(attempts):
        await work_in(account, number % 2)
        await admit(attempt)
    await settle(account.settlement(attempts[0].id))
    await void(attempts[1].id, reason="test")
    rows = await shards_of(account)
    assert [(row.spent, row.held) for row in rows] == [
        (Decimal("0.002"), Decimal("0.1")),
        (0, Decimal("0.1")),
    ]


async def test_a_hold_grows_into_the_room_of_all_shards(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1, "shards": 4})
    attempt = account.attempt(usd="0.1")
    await admit(attempt)
    (balance,) = await extend(Extension(attempt.id, Decimal("0.9"), 100))
    assert balance.held == Decimal("0.9")
    with pytest.raises(BudgetExceeded):
        await extend(Extension(attempt.id, Decimal("1.1"), 100))
    rows = await shards_of(account)
    assert sum(row.allowance or 0 for row in rows) == 1
    assert all(row.held <= (row.allowance or 0) for row in rows)


async def test_the_reaper_ends_holds_in_every_shard(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1, "shards": 3})
    for shard in range(3):
        await work_in(account, shard)
        await admit(account.attempt(usd="0.2", ttl_seconds=0, is_sent=shard != 2))
    await in_thread(Attempt.objects.filter(tenant_id=account.tenant_id).update, expires_at=datetime.now(UTC))
    await in_thread(reap)
    assert [(row.spent, row.held) for row in await shards_of(account)] == [
        (Decimal("0.2"), 0),
        (Decimal("0.2"), 0),
        (0, 0),
    ]


async def test_a_threshold_that_shards_pass_together_alerts_once(
    make_account: MakeAccount, tests_database_url: str
) -> None:
    account = await in_thread(make_account, {"limit": "0.004", "shards": 2, "alert_at": [40, 100]})
    attempts = [account.attempt(usd="0.002") for _ in range(2)]
    for shard, attempt in enumerate(attempts):
        await work_in(account, shard)
        await admit(attempt)
    async with (
        await psycopg.AsyncConnection.connect(tests_database_url) as one,
        await psycopg.AsyncConnection.connect(tests_database_url, autocommit=True) as other,
    ):
        await one.execute(SETTLE, settle_parameters([account.settlement(attempts[0].id)]))
        late = asyncio.create_task(
            other.execute(SETTLE, settle_parameters([account.settlement(attempts[1].id)]))
        )
        await asyncio.sleep(0.3)  # it stands before the same event of 40 %
        await one.commit()
        await late
    events = AlertEvent.objects.filter(tenant_id=account.tenant_id).order_by("threshold")
    for _ in range(2):
        await in_thread(notice_shards)
    assert [event.threshold for event in await in_thread(list, events)] == [40, 100]


async def test_what_is_settled_in_turns_alerts_once(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": "0.008", "shards": 2, "alert_at": [50, 100]})
    found = []
    for turn in range(4):
        await work_in(account, turn % 2)
        attempt = account.attempt(usd="0.002")
        await admit(attempt)
        await settle(account.settlement(attempt.id))
        found.append(await in_thread(AlertEvent.objects.filter(tenant_id=account.tenant_id).count))
    assert found == [0, 1, 1, 2]


async def test_the_admin_shows_the_whole_window(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1, "shards": 2})
    for shard, usd in enumerate(("0.1", "0.2")):
        await work_in(account, shard)
        await admit(account.attempt(usd=usd))
    shown = await in_thread(with_usage(Budget.objects.filter(tenant_id=account.tenant_id)).get)
    assert (shown.top_held, shown.window_count) == (Decimal("0.3"), 1)
