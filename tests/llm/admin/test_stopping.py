"""The dialogs that stop a tenant say what it does just now, to those who may see it."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from billing.models import AgentHour, UsageSum
from llm.admin import tenant_effects
from llm.models import RequestLog
from tenants.models import Tenant
from tests.admin.office import Office


def log(tenant: Tenant, *, times: int, usd: str, ago: timedelta = timedelta(minutes=5)) -> None:
    RequestLog.objects.bulk_create(
        RequestLog(
            request_id=uuid4(), tenant=tenant, at=now() - ago, endpoint="chat", model_asked="gpt-4o", cache_state="miss",
            status=200, cost_usd=Decimal(usd),
        )
        for _ in range(times)
    )  # fmt: skip


def dialog(client: Client, tenant: Tenant, verb: str = "suspend") -> Any:
    return client.get(reverse(f"admin:tenants_tenant_{verb}", args=(tenant.pk,)))


@pytest.fixture
def busy(office: Office) -> Tenant:
    """A tenant with three calls in the last hour, one before it, two sessions, and a day that is summed."""
    acme = office.acme
    RequestLog.objects.filter(tenant=acme).delete()
    UsageSum.objects.filter(tenant=acme).delete()
    AgentHour.objects.filter(tenant=acme).delete()
    log(acme, times=3, usd="0.5")
    log(acme, times=1, usd="9", ago=timedelta(hours=3))
    for back, requests in ((0, 40), (1, 2), (5, 700)):
        UsageSum.objects.create(
            tenant=acme, day=now().date() - timedelta(days=back), dimension="total", requests=requests, hits=0, list_cost=0,
            adjusted_cost=0, billed_cost=Decimal(requests),
        )  # fmt: skip
    for session, hours in (("one", 0), ("one", 1), ("two", 0), ("old", 30)):
        AgentHour.objects.create(
            tenant=acme, hour=now() - timedelta(hours=hours), session=session, requests=1
        )
    return acme


@pytest.mark.parametrize("verb", ["suspend", "pause"])
def test_it_works(office: Office, busy: Tenant, verb: str) -> None:
    page = dialog(office.client(office.olga), busy, verb).content.decode()
    assert "In the last hour it made 3 calls for $1.50." in page
    assert "Since yesterday, UTC: 42 calls for $42.00" in page
    assert "Live sessions and runs of coding agents: 2;" in page
    busy.refresh_from_db()
    assert busy.status == "active"


def test_no_more_calls_are_read_than_are_bound(
    office: Office, busy: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_effects, "MOST_CALLS", 2)
    page = dialog(office.client(office.olga), busy).content.decode()
    assert "it made at least 2 calls for $1.00" in page


def test_nobody_reads_another_tenants_figures(office: Office, busy: Tenant) -> None:
    stranger = office.client(office.charlie)
    for verb in ("suspend", "pause"):
        assert "In the last hour" not in dialog(stranger, busy, verb).content.decode()
    log(office.umbrella, times=7, usd="1")
    owner = office.client(office.alice)
    assert "it made 3 calls" in dialog(owner, busy, "pause").content.decode()
    assert "it made 7 calls" not in dialog(owner, office.umbrella, "pause").content.decode()
