"""Spend over time is looked at, and told once."""

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import connection
from django.utils.timezone import now

from billing.alerts.spend_watch import watch
from billing.models import AlertEvent, AlertRule
from tenants.models import Tenant

pytestmark = pytest.mark.django_db

BOOK = """
INSERT INTO billing_usagerecord (id, occurred_at, tenant_id, period_id, usage_source, list_cost, provider_cost,
    contracted_cost, billed_cost)
VALUES (%(id)s, %(at)s, %(tenant)s, billing_period_at(%(tenant)s, %(at)s), 'manual', %(usd)s, %(usd)s, %(usd)s, %(usd)s)
"""


def book(tenant: Tenant, usd: str, *, hours_ago: float = 0) -> None:
    with connection.cursor() as cursor:
        at = now() - timedelta(hours=hours_ago)
        cursor.execute(BOOK, {"id": uuid4(), "at": at, "tenant": tenant.pk, "usd": usd})


def test_it_works(tenant: Tenant) -> None:
    AlertRule.objects.create(tenant=tenant, metric="day_spend", threshold=Decimal("5"))
    book(tenant, "5.25")
    watch()
    event = AlertEvent.objects.get(tenant=tenant)
    assert (event.metric, event.value, event.threshold) == ("day_spend", Decimal("5.25"), Decimal("5"))


def test_it_tells_a_day_once(tenant: Tenant) -> None:
    AlertRule.objects.create(tenant=tenant, metric="day_spend", threshold=Decimal("5"))
    book(tenant, "6")
    watch()
    book(tenant, "6")
    watch()
    assert AlertEvent.objects.filter(tenant=tenant).count() == 1


def test_it_leaves_a_day_below_its_sum_alone(tenant: Tenant) -> None:
    AlertRule.objects.create(tenant=tenant, metric="day_spend", threshold=Decimal("5"))
    book(tenant, "4.99")
    watch()
    assert not AlertEvent.objects.filter(tenant=tenant).exists()


def test_it_tells_an_hour_that_jumps(tenant: Tenant) -> None:
    AlertRule.objects.create(tenant=tenant, metric="spend_jump", threshold=Decimal("10"))
    for hour in range(2, 50):
        book(tenant, "0.10", hours_ago=hour + 0.5)
    book(tenant, "1.50")
    watch()
    event = AlertEvent.objects.get(tenant=tenant)
    assert (event.metric, event.value) == ("spend_jump", Decimal("15"))


def test_it_needs_a_history_to_jump_from(tenant: Tenant) -> None:
    AlertRule.objects.create(tenant=tenant, metric="spend_jump", threshold=Decimal("10"))
    book(tenant, "0.10", hours_ago=5)
    book(tenant, "100")
    watch()
    assert not AlertEvent.objects.filter(tenant=tenant).exists()
