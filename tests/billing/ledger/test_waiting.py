"""What a call that waits holds: no moment in which another could take it, none in which it counts twice."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.budgets.balances import BudgetExceeded
from billing.ledger.holds import NewAttempt, admit
from billing.ledger.waiting import Reserve, hold_again, take_over
from billing.models import Attempt, BudgetWindow
from tests.billing.conftest import Account, new_id
from tests.orm import in_thread

MakeAccount = Callable[..., Account]
LATER = datetime.now(UTC) + timedelta(days=2)

pytestmark = pytest.mark.usefixtures("loop_resources")


async def held(account: Account, **which: object) -> Decimal:
    amounts = await in_thread(
        lambda: list(
            BudgetWindow.objects.filter(tenant_id=account.tenant_id, **which).values_list("held", flat=True)
        )
    )
    return sum(amounts, Decimal(0))


async def states(*attempts: NewAttempt) -> list[str]:
    rows = await in_thread(Attempt.objects.in_bulk, [attempt.id for attempt in attempts])
    return [rows[attempt.id].state if attempt.id in rows else "" for attempt in attempts]


def waiting_and_going(
    account: Account, *, usd: str = "0.5", goes: str = "0.5"
) -> tuple[NewAttempt, NewAttempt]:
    request_id = new_id()
    waiting = account.attempt(usd=usd, request_id=request_id, is_sent=False)
    return waiting, account.attempt(usd=goes, request_id=request_id, attempt_no=2)


async def test_it_works(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": "0.5"}, {"unit": "requests", "limit": 1})
    waiting, going = waiting_and_going(account)
    await admit(waiting)
    balances = await take_over(waiting.id, going)
    assert {balance.unit: balance.remaining for balance in balances} == {"usd": 0, "requests": 0}
    assert await states(waiting, going) == ["voided", "sent"]
    await take_over(waiting.id, going)  # an answer that was lost
    assert (await held(account, unit="usd"), await held(account, unit="requests")) == (Decimal("0.5"), 1)


async def test_what_has_no_room_leaves_the_hold_where_it_was(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    waiting, going = waiting_and_going(account, goes="0.7")
    await admit(waiting)
    await admit(account.attempt(usd="0.4"))
    with pytest.raises(BudgetExceeded) as refusal:
        await take_over(waiting.id, going)
    assert refusal.value.balance.remaining == Decimal("0.6")  # with its own
    assert (await states(waiting, going), await held(account)) == (["held", ""], Decimal("0.9"))


async def test_nobody_gets_between_the_two(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": "0.5", "shards": 4})
    waiting, going = waiting_and_going(account)
    await admit(waiting)

    async def snatch() -> None:
        for _ in range(30):
            with pytest.raises(BudgetExceeded):
                await admit(account.attempt(usd="0.3"))

    async def change_places() -> None:
        at = going
        await take_over(waiting.id, at)
        for number in range(3, 20):
            await hold_again([at.id], until=LATER)
            before, at = at, replace(at, id=new_id(), attempt_no=number)
            await take_over(before.id, at)

    await asyncio.gather(change_places(), *(snatch() for _ in range(8)))
    assert await held(account) == Decimal("0.5")


async def test_only_a_hold_of_the_same_request_that_waits_is_taken_over(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 2})
    strange, _ = waiting_and_going(account)
    waiting, going = waiting_and_going(account)
    await admit(strange)
    await admit(replace(waiting, is_sent=True))
    await take_over(strange.id, going)
    assert await states(strange, going) == ["held", "sent"]
    await take_over(waiting.id, replace(going, id=new_id(), attempt_no=3))
    assert (await states(waiting), await held(account)) == (["sent"], Decimal("2.0"))


async def test_what_came_to_nothing_waits_again_for_the_same_money(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt(usd="0.6")
    await admit(attempt)
    await hold_again([attempt.id, new_id()], until=LATER)
    await hold_again([attempt.id], until=datetime.now(UTC))  # waits already: left alone
    row = await in_thread(Attempt.objects.get, pk=attempt.id)
    assert (row.state, row.sent_at, row.expires_at, await held(account)) == (
        "held",
        None,
        LATER,
        Decimal("0.6"),
    )


def test_a_cheaper_lane_holds_what_the_dearest_one_costs() -> None:
    reserve = Reserve(new_id(), Decimal("0.6"), 500, LATER)
    account = Account(1, "a", "UTC")
    flex = reserve.covering(account.attempt(usd="0.3", tokens=600))
    assert (flex.hold_usd, flex.hold_tokens) == (Decimal("0.6"), 600)
