"""A tenant whose requests fail is told; what was refused, and one failure of a few, is none."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils.timezone import now

from billing.alerts.watching import look
from billing.models import AlertEvent, AlertRule
from llm import error_rate
from llm.models import RequestLog
from tenants.models import Tenant
from tests.world import new_tenant

pytestmark = pytest.mark.django_db


def log(tenant: Tenant, status: int, *, times: int, minutes_ago: float = 1) -> None:
    at = now() - timedelta(minutes=minutes_ago)
    RequestLog.objects.bulk_create(
        RequestLog(
            request_id=uuid4(), tenant=tenant, at=at, endpoint="chat", model_asked="m", cache_state="miss", status=status
        )
        for _ in range(times)
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _rule(tenant: Tenant) -> None:
    AlertRule.objects.create(tenant=tenant, metric="error_percent", threshold=20)


def test_it_works(tenant: Tenant) -> None:
    log(tenant, 200, times=15)
    log(tenant, 502, times=5)
    assert look([error_rate.find], at=now()) == 1
    event = AlertEvent.objects.get(tenant=tenant)
    assert (event.metric, event.value) == ("error_percent", 25)
    assert f"5 of the last 20 requests of {tenant.slug} failed (25.0 %)" in event.message


@pytest.mark.parametrize(
    ("status", "times", "minutes_ago"),
    [(502, 4, 1), (429, 50, 1), (502, 50, 16)],
    ids=["too few", "refused", "long ago"],
)
def test_what_is_no_alert(tenant: Tenant, status: int, times: int, minutes_ago: float) -> None:
    log(tenant, status, times=times, minutes_ago=minutes_ago)
    log(tenant, 200, times=15)
    assert error_rate.find(at=now()) == []


def test_another_tenants_failures_are_its_own(tenant: Tenant) -> None:
    log(tenant, 200, times=30)
    log(new_tenant("umbrella"), 502, times=300)
    assert error_rate.find(at=now()) == []
