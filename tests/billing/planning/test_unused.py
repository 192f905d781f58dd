"""Nobody looks for what is not used; it is shown."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.planning.unused import idle_budgets, unused_users
from tenants.models import EndUser, Tenant
from tests.billing.planning.days import AT, spend, window

pytestmark = pytest.mark.django_db


def weeks(tenant: Tenant, *spent: str, limit: int = 100, subject: str = "") -> None:
    from billing.models import BudgetWindow

    first = window(
        tenant, limit=limit, spent=spent[0], starts_at=AT - timedelta(days=7), ends_at=AT,
        period="week", scope="user" if subject else "tenant", subject=subject,
    )  # fmt: skip
    for number, amount in enumerate(spent[1:], start=1):
        BudgetWindow.objects.create(
            budget=first.budget, tenant=tenant, subject=subject, unit="usd", spent=Decimal(amount),
            starts_at=first.starts_at - timedelta(days=7 * number), ends_at=first.ends_at - timedelta(days=7 * number),
        )  # fmt: skip


def test_it_works(tenant: Tenant) -> None:
    weeks(tenant, "3", "11.2", "8")
    (one,) = idle_budgets(tenant.pk, at=AT)
    assert (one.most_spent, one.windows, one.used_percent) == (Decimal("11.2"), 3, Decimal("11.2"))
    assert one.suggested == 23  # twice the most, to two digits, rounded up


def test_one_full_window_is_enough_to_keep_a_budget(tenant: Tenant) -> None:
    weeks(tenant, "3", "60", "8")
    assert idle_budgets(tenant.pk, at=AT) == []


def test_one_window_says_nothing(tenant: Tenant) -> None:
    weeks(tenant, "3")
    assert idle_budgets(tenant.pk, at=AT) == []


def test_users_without_a_request_are_named(tenant: Tenant) -> None:
    for name in ("alice", "bob", "carol"):
        EndUser.objects.create(tenant=tenant, external_id=name, is_active=name != "carol")
    spend(tenant, [1.0], user_id="alice")
    found, total = unused_users(tenant.pk, at=AT)
    assert ([one.external_id for one in found], total) == (["bob"], 1)
