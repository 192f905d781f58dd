"""Setting and retiring budgets, and the ledger's partitions."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from billing.budgets.editing import retire_budget, set_budget
from billing.ledger.partitions import ensure_partitions
from billing.models import Budget
from tenants.models import Tenant

pytestmark = pytest.mark.django_db


def test_it_works(tenant: Tenant) -> None:
    budget = set_budget(tenant, scope="user", unit="usd", period="day", limit_amount=Decimal(5))
    assert str(budget) == "each user's budget of 5 USD per day"


def test_another_limit_changes_the_budget_and_leaves_a_trace(tenant: Tenant) -> None:
    olga = User.objects.create(username="olga")
    first = set_budget(tenant, scope="tenant", unit="usd", period="month", limit_amount=Decimal(5))
    second = set_budget(
        tenant, scope="tenant", unit="usd", period="month", limit_amount=Decimal(9), acting_user=olga
    )
    same = set_budget(tenant, scope="tenant", unit="usd", period="month", limit_amount=Decimal(9))
    assert first.pk == second.pk == same.pk
    history = list(Budget.history.filter(id=first.pk).values_list("limit_amount", "history_user__username"))
    assert history == [(9, "olga"), (5, None)]


def test_a_retired_budget_comes_back_as_itself(tenant: Tenant) -> None:
    budget = set_budget(tenant, scope="tenant", unit="usd", period="month", limit_amount=Decimal(5))
    retire_budget(budget)
    assert not Budget.objects.get(pk=budget.pk).is_active
    again = set_budget(tenant, scope="tenant", unit="usd", period="month", limit_amount=Decimal(5))
    assert (again.pk, again.is_active) == (budget.pk, True)


def test_a_budget_that_makes_no_sense_is_refused(tenant: Tenant) -> None:
    with pytest.raises(ValidationError):
        set_budget(tenant, scope="tenant", value="x", unit="usd", period="month", limit_amount=Decimal(5))
    with pytest.raises(ValidationError):
        set_budget(tenant, scope="tenant", unit="euros", period="month", limit_amount=Decimal(5))


def test_partitions_are_made_ahead_once() -> None:
    assert ensure_partitions(months_ahead=3) == 0
    assert ensure_partitions(months_ahead=5) == 2
    assert ensure_partitions(months_ahead=5) == 0
