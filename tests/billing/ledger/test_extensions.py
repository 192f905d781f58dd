"""`billing_extend`: a hold that grows passes no limit, is given back once, and may be asked for twice."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from billing.budgets.balances import BudgetExceeded
from billing.ledger import settlements
from billing.ledger.extensions import Extension, extend
from billing.ledger.holds import admit
from billing.models import Attempt, BudgetWindow
from tests.billing.conftest import Account
from tests.orm import in_thread

MakeAccount = Callable[..., Account]

pytestmark = pytest.mark.usefixtures("loop_resources")


async def window(account: Account, **which: Any) -> BudgetWindow:
    return await in_thread(BudgetWindow.objects.get, tenant_id=account.tenant_id, **which)


async def test_it_works(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1}, {"unit": "tokens", "limit": 1000})
    attempt = account.attempt(usd="0.25", tokens=300)
    await admit(attempt)
    balances = await extend(Extension(attempt.id, Decimal("0.4"), 500))
    assert {balance.unit: balance.held for balance in balances} == {
        "usd": Decimal("0.4"),
        "tokens": Decimal(500),
    }
    row = await in_thread(Attempt.objects.get, pk=attempt.id)
    assert (row.hold_usd, row.hold_tokens) == (Decimal("0.4"), 500)
    await settlements.void(attempt.id, reason="test")
    assert [(await window(account, unit=unit)).held for unit in ("usd", "tokens")] == [0, 0]


async def test_the_same_extension_twice_holds_once_and_a_smaller_one_nothing(
    make_account: MakeAccount,
) -> None:
    account = await in_thread(make_account, {"limit": 1}, {"unit": "requests", "limit": 5})
    attempt = account.attempt(usd="0.25", tokens=300)
    await admit(attempt)
    for usd in ("0.4", "0.4", "0.1"):
        await extend(Extension(attempt.id, Decimal(usd), 300))
    assert (await window(account, unit="usd")).held == Decimal("0.4")
    assert (await window(account, unit="requests")).held == 1


async def test_one_full_budget_refuses_it_in_all(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1}, {"unit": "tokens", "limit": 400})
    attempt = account.attempt(usd="0.25", tokens=300)
    await admit(attempt)
    with pytest.raises(BudgetExceeded) as refusal:
        await extend(Extension(attempt.id, Decimal("0.4"), 500))
    assert (refusal.value.balance.unit, refusal.value.balance.remaining) == ("tokens", 100)
    assert (await window(account, unit="usd")).held == Decimal("0.25")
    assert (await in_thread(Attempt.objects.get, pk=attempt.id)).hold_usd == Decimal("0.25")


async def test_a_soft_budget_refuses_nothing(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": "0.3", "mode": "soft"})
    attempt = account.attempt(usd="0.25")
    await admit(attempt)
    (balance,) = await extend(Extension(attempt.id, Decimal("0.9"), 100))
    assert balance.held == Decimal("0.9")


async def test_an_attempt_that_has_ended_gets_nothing(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt(usd="0.25")
    await admit(attempt)
    await settlements.void(attempt.id, reason="test")
    assert await extend(Extension(attempt.id, Decimal("0.4"), 500)) == []
    assert (await window(account)).held == 0


async def test_100_extensions_at_once_pass_no_limit_and_leave_no_room_unused(
    make_account: MakeAccount,
) -> None:
    account = await in_thread(make_account, {"limit": 2}, {"scope": "user", "limit": 2})
    attempts = [account.attempt(usd="0.01") for _ in range(100)]
    await asyncio.gather(*(admit(attempt) for attempt in attempts))
    replies = await asyncio.gather(
        *(extend(Extension(attempt.id, Decimal("0.03"), 100)) for attempt in attempts), return_exceptions=True
    )
    assert sum(isinstance(reply, BudgetExceeded) for reply in replies) == 50
    assert {
        found.held
        for found in await in_thread(lambda: list(BudgetWindow.objects.filter(tenant_id=account.tenant_id)))
    } == {Decimal(2)}
    await asyncio.gather(*(settlements.void(attempt.id, reason="test") for attempt in attempts))
    assert (await window(account, subject="alice")).held == 0


async def test_the_gateway_may_call_it_and_nobody_else(make_account: MakeAccount) -> None:
    def grantees() -> set[str]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT grantee FROM information_schema.routine_privileges WHERE routine_name = 'billing_extend'"
            )
            return {name for (name,) in cursor.fetchall()}

    assert "purser_app" in await in_thread(grantees)
    assert "PUBLIC" not in await in_thread(grantees)
