"""What budgets would have refused last month stands beside them: call by call where that is little work, else about."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils.timezone import now

from billing.budgets import last_month
from billing.budgets.last_month import beyond_last_month
from billing.budgets.user_windows import fullest_of_users
from billing.ledger.periods import period_at
from billing.ledger.rollups import rebuild_dirty
from billing.models import Budget, BudgetRaise, BudgetWindow, RollupDirty, UsageRecord
from tenants.models import ApiKey, Tenant

pytestmark = pytest.mark.django_db
AT = datetime(2026, 3, 20, 12, tzinfo=UTC)


def budget(tenant: Tenant, limit: str, **fields: Any) -> Budget:
    usual = {"scope": "tenant", "value": "", "unit": "usd", "period": "month"}
    return Budget.objects.create(tenant=tenant, limit_amount=Decimal(limit), **{**usual, **fields})


@pytest.fixture
def spent(tenant: Tenant) -> Tenant:
    """In February alice spent 6 USD with twelve calls on one day, bob 1 USD with two on another, with a key."""
    key = ApiKey.objects.create(tenant=tenant, name="ci", public_id=uuid4().hex[:16], secret_hash=b"x")
    period = period_at(tenant, at=datetime(2026, 2, 5, tzinfo=UTC))
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_ensure_partition('2026-02-01')")
        cursor.execute("SET LOCAL session_replication_role = replica")  # rows as they are after years
        for user, day, calls, key_id in (("alice", 10, 12, None), ("bob", 11, 2, key.pk)):
            for number in range(calls):
                UsageRecord.objects.create(
                    id=uuid4(), tenant=tenant, period=period, user_id=user, key_id=key_id, request_id=uuid4(), kind="usage",
                    occurred_at=datetime(2026, 2, day, 9, number, tzinfo=UTC), recorded_at=AT, usage_source="provider",
                    model="gpt-4o", provider="openai", cache_state="miss", input_tokens=900, output_tokens=100,
                    list_cost=Decimal("0.5"), provider_cost=Decimal("0.5"), contracted_cost=Decimal("0.5"),
                    billed_cost=Decimal("0.5"), saving={},
                )  # fmt: skip
            RollupDirty.objects.create(tenant=tenant, day=datetime(2026, 2, day).date())
        cursor.execute("SET LOCAL session_replication_role = origin")
    rebuild_dirty(limit=500)
    return tenant


def test_it_works(spent: Tenant) -> None:
    whole = budget(spent, "5")
    each = budget(spent, "2", scope="user")
    alice = budget(spent, "10", scope="user", value="alice", unit="requests")
    tokens = budget(spent, "3000", scope="user", unit="tokens")
    found = beyond_last_month([whole, each, alice, tokens], at=AT)
    assert all(one.is_exact for one in found.values())
    assert [(found[one.pk].calls, found[one.pk].usd) for one in (whole, each, alice, tokens)] == [
        (4, 2), (8, 4), (2, 1), (9, Decimal("4.5"))
    ]  # fmt: skip


def test_of_many_calls_the_sums_say_about_how_many(spent: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_month, "MOST_CALLS", 10)
    budgets = [
        budget(spent, "5"),
        budget(spent, "2", scope="user"),
        budget(spent, "10", scope="user", value="alice", unit="requests"),
        budget(spent, "1", scope="key", value="ci", unit="requests"),
        budget(spent, "4", period="day"),
        budget(spent, "100", scope="model"),
        budget(spent, "3000", scope="user", unit="tokens"),
    ]
    found = beyond_last_month(budgets, at=AT)
    assert not any(one.is_exact for one in found.values())
    assert [found[one.pk].calls for one in budgets] == [4, 8, 2, 1, 4, 0, None]
    assert [found[one.pk].usd for one in budgets[:4]] == [2, 4, 1, Decimal("0.5")]


def test_another_tenants_calls_do_not_count(spent: Tenant) -> None:
    stranger = Tenant.objects.create(slug="stranger", name="Stranger")
    mine = budget(stranger, "0")
    assert beyond_last_month([mine], at=AT)[mine.pk].calls == 0
    assert beyond_last_month([]) == {}


def test_a_users_bar_is_of_the_fullest_budget(tenant: Tenant) -> None:
    each = budget(tenant, "10", scope="user")
    alices = budget(tenant, "4", scope="user", value="alice", period="day")
    BudgetRaise.objects.create(
        budget=alices, extra_amount=4, starts_at=now() - timedelta(days=1), ends_at=now() + timedelta(days=1)
    )
    for one, user, spent, held in ((each, "alice", 2, 1), (each, "bob", 9, 0), (alices, "alice", 3, 1)):
        BudgetWindow.objects.create(
            budget=one, tenant=tenant, subject=user, starts_at=now() - timedelta(hours=1), unit="usd", spent=spent, held=held
        )  # fmt: skip
    found = fullest_of_users(tenant, {"alice", "bob", "carol"})
    assert {user: (one.budget, one.percent) for user, one in found.items()} == {
        "alice": (alices, 50), "bob": (each, 90), "carol": (each, 0)
    }  # fmt: skip
    assert fullest_of_users(tenant, set()) == {}
