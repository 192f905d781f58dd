"""Two hundred calls at one time on budgets that fit some of them."""

import asyncio
from collections.abc import Callable
from decimal import Decimal

import pytest

from tests.api.conftest import turns
from tests.books import Books
from tests.chaos.conftest import Load, watched
from tests.world import Deployment, Member, World

CALLS = 200
FIT = 37
TOKENS = {"scope": "tenant", "unit": "tokens", "period": "month", "mode": "hard"}
REQUESTS = {"scope": "tenant", "unit": "requests", "period": "day", "mode": "hard"}
MONEY = {"scope": "tenant", "unit": "usd", "period": "month", "mode": "hard"}


@pytest.fixture
def hold(
    world: World, books: Books, make_deployment: Callable[..., Deployment], make_tenant: Callable[..., Member]
) -> tuple[Deployment, dict, Decimal, int]:
    """A deployment, a call to it, and what that call holds in USD and in tokens."""
    deployment = make_deployment()
    body = {"model": deployment.model, "messages": turns("Say hello."), "max_tokens": 100}
    probe = make_tenant()
    assert world.request("POST", "/v1/chat/completions", body, member=probe)[0] == 200
    (attempt,) = books.settled(probe.id)
    return deployment, body, attempt.hold_usd, attempt.hold_tokens


def storm(world: World, member: Member, body: dict) -> Load:
    load = Load(world.stack.base_url, member, body)
    asyncio.run(load.run(clients=CALLS, calls=CALLS))
    return load


def check(
    world: World, books: Books, member: Member, deployment: Deployment, load: Load, *, admitted: int
) -> None:
    assert load.statuses() == {200: admitted, 429: CALLS - admitted}
    assert {outcome.code for outcome in load.outcomes} == {"", "budget_exceeded"}
    attempts = books.settled(member.id, count=admitted)
    assert [attempt.state for attempt in attempts] == ["captured"] * admitted
    calls = books.calls(key=deployment.account_key)[1:]  # the first was the probe's
    assert len(calls) == admitted
    books.check_invoice(member.id, calls)
    books.check_windows(member.id)


def test_it_works(world: World, books: Books, hold, make_tenant: Callable[..., Member]) -> None:
    """A budget that fits k calls admits exactly k, and no observer ever sees more than it held or spent."""
    deployment, body, _, _ = hold
    member = make_tenant(budgets=[{**REQUESTS, "limit": str(FIT)}])
    with watched(member.id, database_url=world.stack.environment["DATABASE_URL"]) as observer:
        load = storm(world, member, body)
    assert observer.looks > 10
    assert observer.excesses == []
    assert observer.most == FIT
    check(world, books, member, deployment, load, admitted=FIT)


def test_holds_of_money_admit_exactly_what_fits_at_once(
    world: World, books: Books, hold, make_tenant: Callable[..., Member]
) -> None:
    """While the provider takes its time nothing is settled: what is admitted are the holds that fit."""
    deployment, body, hold_usd, _ = hold
    # a call that was answered gives most of its hold back: keep all of them waiting until the last is refused
    world.fault(fault="slow", match={"key": deployment.account_key}, delay_ms=3000, times=FIT)
    member = make_tenant(budgets=[{**MONEY, "limit": f"{hold_usd * FIT + hold_usd / 2:f}"}])
    with watched(member.id, database_url=world.stack.environment["DATABASE_URL"]) as observer:
        load = storm(world, member, body)
    assert observer.excesses == []
    assert observer.most == hold_usd * FIT
    check(world, books, member, deployment, load, admitted=FIT)


def test_stacked_budgets_are_never_exceeded_and_none_refuses_without_cause(
    world: World, books: Books, hold, make_tenant: Callable[..., Member]
) -> None:
    deployment, body, hold_usd, hold_tokens = hold
    member = make_tenant(
        budgets=[
            {**MONEY, "limit": f"{hold_usd * 20:f}"},
            {**TOKENS, "limit": str(hold_tokens * 30)},
            {"scope": "user", "unit": "requests", "period": "day", "mode": "hard", "limit": "60"},
        ]
    )
    with watched(member.id, database_url=world.stack.environment["DATABASE_URL"]) as observer:
        load = storm(world, member, {**body, "user": "alice"})
    assert observer.excesses == []
    admitted = load.statuses()[200]
    assert 20 <= admitted <= 60  # settled calls make room for others, and no user has more than sixty
    check(world, books, member, deployment, load, admitted=admitted)


def test_a_budget_with_room_refuses_nobody(
    world: World, books: Books, hold, make_tenant: Callable[..., Member]
) -> None:
    deployment, body, hold_usd, hold_tokens = hold
    member = make_tenant(
        budgets=[
            {**MONEY, "limit": f"{hold_usd * CALLS:f}"},
            {**TOKENS, "limit": str(hold_tokens * CALLS)},
            {**REQUESTS, "limit": str(CALLS)},
        ]
    )
    load = storm(world, member, {**body, "stream": "sometimes"})
    check_all = load.statuses()
    assert check_all == {200: CALLS}
    books.settled(member.id, count=CALLS)
    books.check_invoice(member.id, books.calls(key=deployment.account_key)[1:])
    books.check_windows(member.id)
