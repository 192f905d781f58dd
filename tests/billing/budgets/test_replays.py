"""What a budget would have refused is what it does refuse, when the same calls are made again under it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from openai import RateLimitError

from billing.budgets.replays import Replay, last_months, replay
from billing.models import Budget
from tenants.models import Tenant
from tests.books import Books
from tests.world import Member, World

NO_CACHE = {"cache": {"exact": False, "semantic": "off"}}
# who asks, and how much of an answer is held for
CALLS = [(user, tokens) for tokens in (20, 400, 30, 60) for user in ("alice", "bob", "alice")]


def make_calls(world: World, member: Member) -> dict[str, int]:
    """The same calls, one after the other; how many were refused, by user."""
    client = world.openai(member).with_options(max_retries=0)
    refused = {"alice": 0, "bob": 0}
    for number, (user, tokens) in enumerate(CALLS):
        question = f"{number}. What does my card cost a year?"
        try:
            client.chat.completions.create(
                model="gpt-4o-mini",
                messages=[{"role": "user", "content": question}],
                max_tokens=tokens,
                user=user,
            )
        except RateLimitError:
            refused[user] += 1
    return refused


def replayed(tenant: Tenant, **limit: Any) -> Replay:
    budget = Budget(
        tenant=tenant, **{"scope": "tenant", "value": "", "unit": "usd", "period": "month", **limit}
    )
    at = datetime.now(UTC)
    return replay(
        budget, limit=budget.limit_amount, first=at - timedelta(days=1), until=at + timedelta(minutes=1)
    )


@pytest.fixture
def past(world: World, make_tenant: Any, books: Books) -> Tenant:
    """A tenant whose calls were all admitted."""
    member = make_tenant("past", policy=NO_CACHE)
    assert make_calls(world, member) == {"alice": 0, "bob": 0}
    books.settled(member.id, count=len(CALLS))
    return Tenant.objects.get(pk=member.id)


@pytest.mark.parametrize(
    "limit",
    [
        {"scope": "tenant", "unit": "usd", "limit_amount": Decimal("0.0002")},
        {"scope": "user", "unit": "tokens", "limit_amount": Decimal(300)},
        {"scope": "user", "value": "alice", "unit": "requests", "limit_amount": Decimal(3)},
        {"scope": "tenant", "unit": "tokens", "period": "day", "limit_amount": Decimal(500)},
        {"scope": "key", "unit": "usd", "limit_amount": Decimal("0.00004")},
        {"scope": "model", "unit": "requests", "limit_amount": Decimal(5)},
    ],
    ids=str,
)
def test_it_works(world: World, make_tenant: Any, past: Tenant, books: Books, limit: dict[str, Any]) -> None:
    """A replay of the calls of one tenant refuses as many, and whose, as the budget does in another that makes them."""
    budget = {"period": "month", "mode": "hard", **limit}
    budget["limit"] = str(budget.pop("limit_amount"))
    member = make_tenant("tried", policy=NO_CACHE, budgets=[budget])
    refused = make_calls(world, member)
    tried = replayed(past, **limit)
    assert 0 < tried.calls < len(CALLS)
    assert tried.calls == sum(refused.values())
    if limit["scope"] == "user":
        assert {one.subject: one.calls for one in tried.worst} == {
            user: count for user, count in refused.items() if count
        }
    assert tried.is_exact


def test_what_is_refused_adds_up_to_what_was_not_spent(past: Tenant, books: Books) -> None:
    whole = sum(row.billed_cost for row in books.rows(past.pk))
    assert replayed(past, limit_amount=Decimal(0)).usd == whole
    assert replayed(past, limit_amount=Decimal(0)).calls == len(CALLS)
    assert replayed(past, limit_amount=Decimal(1000)).calls == 0


def test_another_tenants_calls_do_not_count(past: Tenant, make_tenant: Any) -> None:
    stranger = Tenant.objects.get(pk=make_tenant("stranger").id)
    assert replayed(stranger, limit_amount=Decimal(0)).calls == 0


def test_too_many_calls_are_estimated_and_it_says_so(past: Tenant) -> None:
    from billing.ledger.rollups import rebuild_dirty

    rebuild_dirty()
    budget = Budget(
        tenant=past, scope="user", value="", unit="requests", period="month", limit_amount=Decimal(3)
    )
    at = datetime.now(UTC)
    rough = replay(
        budget, limit=Decimal(3), first=at - timedelta(days=1), until=at + timedelta(days=1), most_calls=5
    )
    exact = replay(budget, limit=Decimal(3), first=at - timedelta(days=1), until=at + timedelta(days=1))
    assert not rough.is_exact
    assert "Estimated" in rough.note
    assert rough.calls == exact.calls


def test_the_months_are_the_tenants_own() -> None:
    (first, end), (begun, at) = last_months("Europe/Berlin", at=datetime(2026, 11, 30, 9, tzinfo=UTC))
    assert (first, end) == (datetime(2026, 9, 30, 22, tzinfo=UTC), datetime(2026, 10, 31, 23, tzinfo=UTC))
    assert (begun, at) == (end, datetime(2026, 11, 30, 9, tzinfo=UTC))
