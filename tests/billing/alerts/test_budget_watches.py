"""A budget that will not last, and an envelope that is nearly used, are told while there is time."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from billing.alerts import budget_watches
from billing.alerts.watching import look
from billing.models import AlertEvent, AlertRule, BudgetRaise, BudgetWindow, RunEnvelope
from billing.runs import envelopes
from tenants.models import Tenant
from tenants.policy import EnvelopePolicy
from tests.billing.planning.days import AT, spend, window
from tests.world import new_tenant

pytestmark = pytest.mark.django_db
SEPTEMBER = {
    "starts_at": datetime(2026, 9, 1, tzinfo=UTC),
    "ends_at": datetime(2026, 10, 1, tzinfo=UTC),
}
POLICY = EnvelopePolicy(opens="asked", usd=2, most_usd=10, most_open=3, own_raises=1)


def rule(tenant: Tenant, metric: str, threshold: int) -> AlertRule:
    return AlertRule.objects.create(tenant=tenant, metric=metric, threshold=Decimal(threshold))


def opened(tenant: Tenant, *, used: str, **fields: Any) -> RunEnvelope:
    id = envelopes.open_run(tenant, person="alice", run="build-7", usd=Decimal(2), policy=POLICY)
    envelope = RunEnvelope.objects.select_related("budget").get(pk=id)
    BudgetWindow.objects.create(
        budget=envelope.budget, tenant=tenant, subject="build-7", unit="usd", starts_at=now(), spent=Decimal(used), **fields
    )  # fmt: skip
    return envelope


def test_it_works(tenant: Tenant) -> None:
    spend(tenant, [10] * 60)
    budget = window(tenant, limit=200, spent=140, **SEPTEMBER).budget
    rule(tenant, "forecast_percent", 120)
    assert look([budget_watches.forecasts], at=AT) == 1
    event = AlertEvent.objects.get(tenant=tenant)
    assert event.budget == budget
    assert 140 < event.value < 160
    assert "of 200.00 usd by 2026-10-01 00:00 UTC" in event.message
    assert look([budget_watches.forecasts], at=AT + timedelta(hours=1)) == 0


def test_a_budget_that_lasts_and_one_without_history_are_left_alone(tenant: Tenant) -> None:
    spend(tenant, [10] * 60)
    window(tenant, limit=400, spent=140, **SEPTEMBER)
    rule(tenant, "forecast_percent", 100)
    young = new_tenant("young")
    spend(young, [100] * 5)
    window(young, limit=10, spent=9, **SEPTEMBER)
    rule(young, "forecast_percent", 100)
    assert budget_watches.forecasts(at=AT) == []


def test_nobody_without_a_rule_is_told_of_a_forecast(tenant: Tenant) -> None:
    spend(tenant, [10] * 60)
    window(tenant, limit=20, spent=19, **SEPTEMBER)
    assert budget_watches.forecasts(at=AT) == []


def test_an_envelope_that_is_nearly_used_is_told(tenant: Tenant) -> None:
    rule(tenant, "envelope_percent", 80)
    opened(tenant, used="1.20", held=Decimal("0.50"))
    (found,) = budget_watches.envelopes(at=now())
    assert found.value == 85
    assert f"Run build-7 of {tenant.slug} has used 1.7000 of the 2.00 USD" in found.message


def test_an_envelope_that_is_half_used_or_over_is_not(tenant: Tenant) -> None:
    rule(tenant, "envelope_percent", 80)
    envelope = opened(tenant, used="1.00")
    assert budget_watches.envelopes(at=now()) == []
    BudgetWindow.objects.filter(budget=envelope.budget).update(spent=2)
    assert len(budget_watches.envelopes(at=now())) == 1
    RunEnvelope.objects.filter(pk=envelope.pk).update(expires_at=now() - timedelta(seconds=1))
    assert budget_watches.envelopes(at=now()) == []


def test_a_raise_counts(tenant: Tenant) -> None:
    rule(tenant, "envelope_percent", 80)
    envelope = opened(tenant, used="1.90")
    envelopes.raise_run(envelope, extra_amount=Decimal(2), reason="more", acting_user=None)
    # the view counts what had begun when the transaction began, and a test is one transaction
    BudgetRaise.objects.filter(budget=envelope.budget).update(starts_at=now() - timedelta(hours=1))
    assert budget_watches.envelopes(at=now()) == []
