"""The gate: what is admitted, what is refused, and that no limit is ever passed."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from billing.budgets.balances import Balance, BudgetExceeded, tightest
from billing.budgets.raises import raise_budget
from billing.budgets.windows import load_budgets
from billing.errors import LedgerUnavailable
from billing.ledger import holds, settlements
from billing.ledger.holds import admit, balances_of
from billing.models import Attempt, Budget, BudgetWindow
from billing.scopes import Dimensions
from config import resources
from tests.billing.conftest import Account, of_scope
from tests.orm import in_thread

MakeAccount = Callable[..., Account]

pytestmark = pytest.mark.usefixtures("loop_resources")


async def outcomes(attempts: list[Any]) -> list[Any]:
    return await asyncio.gather(*(admit(attempt) for attempt in attempts), return_exceptions=True)


async def window(account: Account, **which: Any) -> BudgetWindow:
    return await in_thread(BudgetWindow.objects.get, tenant_id=account.tenant_id, **which)


async def test_it_works(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1}, {"unit": "tokens", "limit": 1000})
    attempt = account.attempt(usd="0.25", tokens=300)
    balances = await admit(attempt)
    assert {balance.unit: balance.remaining for balance in balances} == {
        "usd": Decimal("0.75"),
        "tokens": Decimal(700),
    }
    row = await in_thread(Attempt.objects.get, pk=attempt.id)
    assert (row.state, row.hold_usd, len(row.window_ids)) == ("sent", Decimal("0.25"), 2)


async def test_200_concurrent_calls_on_a_budget_that_fits_k_admit_exactly_k(
    make_account: MakeAccount,
) -> None:
    account = await in_thread(
        make_account,
        {"limit": "0.37"},
        {"scope": "user", "unit": "tokens", "limit": 100_000},
        {"scope": "user", "unit": "requests", "period": "month", "limit": 10_000},
    )
    replies = await outcomes([account.attempt(usd="0.01") for _ in range(200)])
    refused = [reply for reply in replies if isinstance(reply, BudgetExceeded)]
    assert len(refused) == 200 - 37
    assert all(isinstance(reply, list | BudgetExceeded) for reply in replies)
    held = await window(account, unit="usd")
    assert (held.held, held.spent) == (Decimal("0.37"), 0)
    assert (await window(account, unit="requests")).held == 37


async def test_a_budget_that_has_room_never_refuses(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 2}, {"scope": "user", "limit": 2})
    replies = await outcomes([account.attempt(usd="0.01") for _ in range(200)])
    assert not [reply for reply in replies if isinstance(reply, Exception)]


async def test_who_fits_goes_in_even_if_one_before_did_not(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    small, big, last = await outcomes([account.attempt(usd=usd) for usd in ("0.5", "0.6", "0.5")])
    assert isinstance(big, BudgetExceeded)
    assert isinstance(small, list)
    assert isinstance(last, list)


async def test_every_budget_that_applies_counts_and_the_fullest_is_named(make_account: MakeAccount) -> None:
    account = await in_thread(
        make_account,
        {"limit": 100},
        {"scope": "user", "value": "alice", "limit": 1},
        {"scope": "feature", "limit": 5},
    )
    await admit(account.attempt(usd="0.9", feature="chat"))
    with pytest.raises(BudgetExceeded) as refusal:
        await admit(account.attempt(usd="0.2", feature="chat"))
    assert refusal.value.balance.scope == "user"
    assert "user budget 'alice' of 1 USD per day has 0.1 USD left" in refusal.value.message
    headers = refusal.value.response_headers()
    assert headers["x-should-retry"] == "false"
    assert headers["x-purser-budget-resets-at"] in refusal.value.message
    assert int(headers.get("retry-after", 0)) <= 60
    assert (await window(account, budget__scope="tenant")).held == Decimal("0.9")
    await admit(account.attempt(usd="0.2", user="bob"))


async def test_a_soft_budget_is_counted_and_refuses_nothing(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1, "mode": "soft"})
    balances = [await admit(account.attempt(usd="0.8")) for _ in range(2)]
    assert balances[-1][0].remaining == Decimal("-0.6")


async def test_the_same_attempt_is_held_once(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt(usd="0.6")
    await outcomes([attempt, attempt])
    await admit(attempt)
    assert (await window(account)).held == Decimal("0.6")


async def test_a_limit_counts_the_moment_it_is_changed(make_account: MakeAccount) -> None:
    """The snapshot that the caller holds is old; the gate reads the limit itself."""
    account = await in_thread(make_account, {"limit": 10})
    await admit(account.attempt(usd="1"))
    await in_thread(Budget.objects.filter(tenant_id=account.tenant_id).update, limit_amount=Decimal(1))
    with pytest.raises(BudgetExceeded):
        await admit(account.attempt(usd="0.01"))
    await in_thread(Budget.objects.filter(tenant_id=account.tenant_id).update, is_active=False)
    await admit(account.attempt(usd="0.01"))


async def test_a_raise_counts_until_its_end(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    budget = await in_thread(Budget.objects.get, tenant_id=account.tenant_id)
    with pytest.raises(BudgetExceeded):
        await admit(account.attempt(usd="1.5"))
    ends_at = datetime.now(UTC) + timedelta(hours=1)
    raised = await in_thread(raise_budget, budget, extra_amount=Decimal(1), ends_at=ends_at, reason="launch")
    (balance,) = await admit(account.attempt(usd="1.5"))
    assert balance.limit == 2
    past = datetime.now(UTC) - timedelta(seconds=1)
    await in_thread(
        type(raised).objects.filter(pk=raised.pk).update, starts_at=past - timedelta(hours=1), ends_at=past
    )
    with pytest.raises(BudgetExceeded):
        await admit(account.attempt(usd="0.01"))


async def test_yesterdays_figure_never_reaches_into_today(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1}, {"period": "month", "limit": 10})
    yesterday = datetime.now(UTC) - timedelta(days=1)
    await admit(account.attempt(usd="1", at=yesterday))
    (day, _) = await admit(account.attempt(usd="1"))
    assert day.remaining == 0


async def test_balances_are_those_of_the_gate_and_of_windows_that_are_not_there_yet(
    make_account: MakeAccount,
) -> None:
    account = await in_thread(make_account, {"limit": 4}, {"scope": "user", "limit": 2})
    await admit(account.attempt(usd="1"))

    async def ask(user: str) -> list[Balance]:
        return await balances_of(
            account.tenant_id,
            budgets=account.budgets,
            timezone=account.timezone,
            at=datetime.now(UTC),
            dimensions=Dimensions(user=user),
        )

    assert of_scope(await ask("alice"), "user").used_percent == 50
    assert of_scope(await ask("bob"), "user").used_percent == 0
    assert [balance.scope for balance in await ask("")] == ["tenant"]
    assert tightest(await ask("alice")).scope == "user"


async def test_another_tenants_budget_has_no_balance(make_account: MakeAccount) -> None:
    account, other = await in_thread(lambda: (make_account({"limit": 1}), make_account({"limit": 1})))
    balances = await balances_of(
        other.tenant_id, budgets=account.budgets, timezone="UTC", at=datetime.now(UTC)
    )
    assert balances == []


async def test_one_bad_call_does_not_fail_its_group(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    good, bad, also_good = await outcomes(
        [account.attempt(usd="0.1"), account.attempt(usd="-1"), account.attempt(usd="0.1")]
    )
    assert isinstance(bad, psycopg.Error)
    assert isinstance(good, list)
    assert isinstance(also_good, list)
    assert (await window(account)).held == Decimal("0.2")


async def test_a_budget_deleted_since_the_snapshot_limits_nothing(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    await in_thread(Budget.objects.filter(tenant_id=account.tenant_id).delete)
    assert await admit(account.attempt(usd="5")) == []


async def test_an_observer_never_sees_more_than_the_limit(make_account: MakeAccount) -> None:
    """Three stacked budgets, calls that hold, settle and void at once, and somebody who looks all the time."""
    account = await in_thread(
        make_account,
        {"limit": "0.10"},
        {"scope": "user", "unit": "tokens", "limit": 900},
        {"scope": "user", "period": "month", "unit": "usd", "limit": "0.50"},
    )
    seen, is_over = [], asyncio.Event()

    def look() -> list[Any]:
        with psycopg.connect(
            settings.DATABASE_URL.rpartition("/")[0] + f"/{connection.settings_dict['NAME']}"
        ) as watch:
            return watch.execute(
                "SELECT w.unit, max(w.spent + w.held), max(b.limit_amount) FROM billing_budgetwindow w"
                " JOIN billing_budget b ON b.id = w.budget_id WHERE w.tenant_id = %s GROUP BY w.id, w.unit",
                [account.tenant_id],
            ).fetchall()

    async def observe() -> None:
        while not is_over.is_set():
            seen.extend(await in_thread(look))

    async def call(number: int) -> None:
        for _ in range(8):
            attempt = account.attempt(usd="0.01", tokens=100, user="alice" if number % 3 else "bob")
            try:
                await admit(attempt)
            except BudgetExceeded:
                continue
            if number % 4 == 0:
                await settlements.void(attempt.id, reason="test")
            else:
                await settlements.settle(account.settlement(attempt.id, read=50, written=10))

    observer = asyncio.create_task(observe())
    await asyncio.gather(*(call(number) for number in range(40)))
    is_over.set()
    await observer
    assert seen
    assert not [row for row in seen if row[1] > row[2]]
    windows = await in_thread(lambda: list(BudgetWindow.objects.filter(tenant_id=account.tenant_id)))
    assert {window.held for window in windows} == {0}


async def test_without_postgresql_nothing_is_admitted_and_a_lost_answer_is_undone(
    make_account: MakeAccount,
) -> None:
    account = await in_thread(make_account, {"limit": 1})
    await admit(account.attempt(usd="0.1"))
    attempt = account.attempt(usd="0.2")
    pool = resources.db
    resources.db = type(pool)(conninfo="postgresql://nobody@127.0.0.1:1/none", open=False, timeout=0.1)
    try:
        with pytest.raises(LedgerUnavailable) as unavailable:
            await admit(attempt)
    finally:
        resources.db = pool
    assert (unavailable.value.status, unavailable.value.code) == (503, "service_unavailable")
    assert (await window(account)).held == Decimal("0.1")


async def test_connections_that_break_under_load_lose_and_double_nothing(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1000})
    is_over = asyncio.Event()

    def kill() -> int:
        """Those that move money, and not the one that another test goes on with."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query ~ 'billing_(commit_group|ensure_windows)'"
                " AND pid <> pg_backend_pid()"
            )
            return int(cursor.fetchone()[0])

    async def saboteur() -> int:
        killed = 0
        while not is_over.is_set():
            killed += await in_thread(kill)
            await asyncio.sleep(0.05)
        return killed

    admitted = []

    async def call() -> None:
        for _ in range(10):
            attempt = account.attempt(usd="0.01")
            try:
                await admit(attempt)
            except LedgerUnavailable:
                continue
            admitted.append(attempt.id)
            await settlements.settle(account.settlement(attempt.id))

    enemy = asyncio.create_task(saboteur())
    await asyncio.gather(*(call() for _ in range(30)))
    is_over.set()
    assert await enemy > 0
    await resources.drain()
    states = await in_thread(
        lambda: dict(Attempt.objects.filter(tenant_id=account.tenant_id).values_list("id", "state"))
    )
    assert {states[attempt_id] for attempt_id in admitted} == {"captured"}
    assert {state for attempt_id, state in states.items() if attempt_id not in admitted} <= {"voided"}
    left = await window(account)
    assert (left.held, left.spent) == (0, Decimal("0.002") * len(admitted))


async def test_the_hold_of_a_deleted_tenant_of_budgets_is_none(make_account: MakeAccount) -> None:
    account = await in_thread(make_account)
    assert await in_thread(load_budgets, account.tenant_id) == ()
    assert await admit(account.attempt()) == []


async def test_a_line_of_a_batch_waits_until_it_is_sent(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt(usd="0.5", is_sent=False, ttl_seconds=86_400)
    await admit(attempt)
    assert (await in_thread(Attempt.objects.get, pk=attempt.id)).state == "held"
    assert await holds.mark_sent([attempt.id], ttl_seconds=86_400) == 1
    assert await holds.mark_sent([attempt.id], ttl_seconds=86_400) == 0
    assert (await in_thread(Attempt.objects.get, pk=attempt.id)).state == "sent"
