"""Finance asks what one of something costs."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from billing.models import FeatureDay
from billing.planning.unit_costs import unit_costs
from tenants.models import Tenant
from tests.billing.planning.days import TODAY, spend
from tests.world import new_tenant

pytestmark = pytest.mark.django_db
FIRST, LAST = TODAY - timedelta(days=30), TODAY


def told(tenant: Tenant, name: str, feature: str, events: int, *, day: date, quantity: int = 0) -> None:
    FeatureDay.objects.create(
        tenant=tenant, day=day, name=name, feature=feature, events=events, quantity=quantity or events
    )


def test_it_works(tenant: Tenant) -> None:
    spend(tenant, [6.0] * 10, user_id="alice", feature="invoices")
    spend(tenant, [3.0] * 5, user_id="bob")
    found = unit_costs(tenant.pk, first=FIRST, last=LAST)
    assert (found.usd, found.requests) == (75, 75)
    assert found.per_request == 1
    assert (found.users, found.user_days, found.per_user_day) == (2, 15, 5)


def test_an_event_costs_what_its_feature_s_calls_cost(tenant: Tenant) -> None:
    spend(tenant, [6.0] * 10, feature="invoices")
    spend(tenant, [4.0] * 10, feature="chat")
    told(tenant, "invoice_read", "invoices", 30, day=TODAY - timedelta(days=10))
    told(tenant, "document", "", 50, day=TODAY - timedelta(days=10), quantity=200)
    everything, invoices = unit_costs(tenant.pk, first=FIRST, last=LAST).events
    assert (invoices.usd, invoices.per_event) == (60, 2)
    assert (everything.usd, everything.per_event, everything.per_unit) == (100, 2, Decimal("0.5"))


def test_what_was_spent_before_the_first_event_is_not_divided_by_events(tenant: Tenant) -> None:
    spend(tenant, [6.0] * 10, feature="invoices")
    told(tenant, "invoice_read", "invoices", 4, day=TODAY - timedelta(days=2))
    (invoices,) = unit_costs(tenant.pk, first=FIRST, last=LAST).events
    assert (invoices.usd, invoices.per_event) == (12, 3)


def test_of_nothing_there_is_no_unit_cost(tenant: Tenant) -> None:
    found = unit_costs(tenant.pk, first=FIRST, last=LAST)
    assert (found.per_request, found.per_user_day, found.events) == (None, None, ())


def test_a_stranger_is_not_counted(tenant: Tenant) -> None:
    stranger = new_tenant("stranger")
    spend(stranger, [100.0] * 5, user_id="eve", feature="invoices")
    told(stranger, "invoice_read", "invoices", 4, day=TODAY)
    found = unit_costs(tenant.pk, first=FIRST, last=LAST)
    assert (found.usd, found.users, found.events) == (0, 0, ())
