"""What a process saw of balances last: a hint of at most a second's age."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.budgets.balances import Balance
from billing.budgets.windows import WindowKey, windows_for
from billing.ledger.holds import admit, balances_of, recent_balances
from billing.ledger.seen_balances import MOST_SECONDS
from billing.ledger.settlements import settle
from billing.models import BudgetWindow
from billing.scopes import Dimensions
from tests.billing.conftest import Account
from tests.orm import in_thread

MakeAccount = Callable[..., Account]

pytestmark = pytest.mark.usefixtures("loop_resources")


def windows_of(account: Account) -> tuple[WindowKey, ...]:
    dimensions = Dimensions(user="alice", key="main")
    return windows_for(account.budgets, dimensions, at=datetime.now(UTC), timezone=account.timezone)


async def recent(account: Account, *, since: float = 0, calm_percent: float = 0) -> Balance:
    (balance,) = await recent_balances(
        account.tenant_id, windows_of(account), since=since, calm_percent=calm_percent
    )
    return balance


async def spend_elsewhere(account: Account, usd: str) -> None:
    """As another process would."""
    windows = BudgetWindow.objects.filter(tenant_id=account.tenant_id)
    await in_thread(windows.update, spent=Decimal(usd))


async def test_it_works(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 4})
    assert (await recent(account)).used_percent == 0
    attempt = account.attempt(usd="1")
    await admit(attempt)
    assert (await recent(account)).used_percent == 25
    await settle(account.settlement(attempt.id))
    balance = await recent(account)
    assert (balance.held, balance.spent) == (0, Decimal("0.002"))


async def test_what_others_spend_shows_within_the_time(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 4})
    await admit(account.attempt(usd="1"))
    await spend_elsewhere(account, "2")
    assert (await recent(account)).spent == 0
    await asyncio.sleep(MOST_SECONDS + 0.1)
    assert (await recent(account)).spent == 2


async def test_a_budget_far_from_its_limit_is_good_for_longer(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 4})
    await admit(account.attempt(usd="1"))
    await spend_elsewhere(account, "2")
    await asyncio.sleep(MOST_SECONDS + 0.1)
    assert (await recent(account, calm_percent=45)).spent == 0
    assert (await recent(account, calm_percent=25)).spent == 2, "25 % are not less than 25 %"


async def test_what_was_seen_before_the_budgets_changed_does_not_count(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 4})
    await admit(account.attempt(usd="1"))
    await spend_elsewhere(account, "2")
    assert (await recent(account, since=time.monotonic())).spent == 2
    assert (await recent(account)).spent == 2


async def test_admission_and_reports_ask_for_themselves(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 4})
    await admit(account.attempt(usd="1"))
    await spend_elsewhere(account, "2")
    (balance,) = await balances_of(
        account.tenant_id, budgets=account.budgets, timezone=account.timezone, at=datetime.now(UTC)
    )
    assert balance.remaining == 1
    (balance,) = await admit(account.attempt(usd="1"))
    assert balance.remaining == 0


async def test_those_who_ask_together_get_their_own(make_account: MakeAccount) -> None:
    account, other = await in_thread(lambda: (make_account({"limit": 4}), make_account({"limit": 8})))
    balances = await asyncio.gather(recent(account), recent(other), recent(account))
    assert [balance.limit for balance in balances] == [4, 8, 4]
