"""A change of time zone gives no second allowance for the same day, week or month."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from billing.budgets.balances import BudgetExceeded
from billing.ledger.holds import admit, balances_of
from billing.ledger.settlements import settle
from billing.models import BudgetWindow
from tests.billing.conftest import Account
from tests.billing.months.test_periods import ZONES
from tests.orm import in_thread

MakeAccount = Callable[..., Account]
NOON = datetime(2026, 6, 17, 12, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("loop_resources")


async def spend(account: Account, *, at: datetime, zone: str) -> bool:
    """Whether a call for a tenth of the limit was admitted."""
    account.timezone = zone
    attempt = account.attempt(usd="0.1", at=at)
    try:
        await admit(attempt)
    except BudgetExceeded:
        return False
    await settle(account.settlement(attempt.id, read=100_000, written=0))
    return True


async def windows(account: Account) -> int:
    return await in_thread(BudgetWindow.objects.filter(tenant_id=account.tenant_id).count)


@pytest.mark.parametrize("period", ["week", "month"])
async def test_the_window_goes_on_whatever_the_zone_is(make_account: MakeAccount, period: str) -> None:
    account = await in_thread(make_account, {"limit": 1, "period": period})
    admitted = [await spend(account, at=NOON, zone=zone) for zone in ZONES]
    assert admitted.count(True) == 10
    assert await windows(account) == 1


async def test_a_day_goes_on_in_the_zones_whose_day_it_mostly_is(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1, "period": "day"})
    for zone in ("UTC", "Europe/Berlin", "America/St_Johns", "America/New_York", "Africa/Casablanca"):
        assert await spend(account, at=NOON, zone=zone)
    (balance,) = await balances_of(
        account.tenant_id, budgets=account.budgets, timezone="Asia/Tehran", at=NOON
    )
    assert (balance.spent, await windows(account)) == (Decimal("0.5"), 1)


@pytest.mark.parametrize("seed", range(3))
async def test_moving_all_the_time_never_buys_more_than_twice_the_days(
    make_account: MakeAccount, seed: int
) -> None:
    random = Random(seed)
    account = await in_thread(make_account, {"limit": 1, "period": "day"})
    admitted = 0
    for hour in range(72):
        for _ in range(4):
            admitted += await spend(account, at=NOON + timedelta(hours=hour), zone=random.choice(ZONES))
    assert admitted <= 10 * 2 * 4


async def test_days_that_follow_each_other_are_days_of_their_own(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1, "period": "day"})
    # one of them has 23 hours
    days = [datetime(2026, 3, 27, 12, tzinfo=UTC) + timedelta(days=day) for day in range(4)]
    for at in days:
        assert await spend(account, at=at, zone="Europe/Berlin")
    assert await windows(account) == 4
