"""Every address of the portal, as everybody: strangers, other members and other tenants see nothing and change nothing."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from billing.budgets.raise_requests import request_raise
from billing.deliveries.schedules import save_schedule
from billing.models import AlertEvent, BillingPeriod, Budget, ReportSchedule, Statement
from billing.months.closing import close_period
from config.portal import urls
from tenants.keys.editing import issue_key
from tenants.models import ApiKey, Membership, Tenant
from tenants.people.inviting import invite
from tests.config.portal.conftest import House
from tests.config.portal.test_requests import log

# what leads to no tenant, or is a page of runs, which has its own tests
LEFT_OUT = {"entrance", "leave", "find_run", "run", "change_run", "runs", "session"}
PAGES = sorted(pattern.name for pattern in urls.urlpatterns if pattern.name not in LEFT_OUT)
OWNERS = {
    "add_service_key", "add_budget", "change_budget", "decide_raise", "see_alert", "people", "person", "remove_person", "policy",
    "changes", "key_tags", "allocate_user",
    "invite", "cancel_invitation", "key_rights",
}  # fmt: skip
READERS = {
    "deliveries",
    "add_schedule",
    "schedule",
    "remove_schedule",
    "spend",
    "spend_file",
    "teams",
    "months",
    "month",
    "month_file",
    "statement",
    "statement_file",
    "statement_facts",
    "alerts",
    "chargebacks",
}
DEVELOPERS = {
    "keys", "add_own_key", "key", "rotate_key", "revoke_key", "connect", "requests", "request", "add_service_key",
}  # fmt: skip


def rows_of(house: House, tenant: Tenant, person: str) -> dict[str, Any]:
    """A row for each part of an address, all of one person of a tenant."""
    user = Membership.objects.get(tenant=tenant, person=person).user
    key, _ = issue_key(tenant, name=f"of {person}", user=person)
    budget = Budget.objects.create(
        tenant=tenant, scope="user", value=person, unit="usd", period="day", limit_amount=Decimal(5)
    )
    wish: dict[str, Any] = {
        "extra_amount": Decimal(1),
        "ends_at": now() + timedelta(days=1),
        "reason": "launch",
    }
    asked = request_raise(budget, **wish, end_user=person, acting_user=user)
    event = AlertEvent.objects.create(
        tenant=tenant, metric="request_cost", value=2, threshold=1, message="dear"
    )
    statement = statement_of(tenant)
    waiting = invite(tenant, email=f"{uuid4().hex}@acme.example", role="member", acting_user=user)
    schedule = ReportSchedule(
        tenant=tenant, name=f"of {person}", kind="s3", target="finance/purser", region="eu-central-1",
        access_key="AKIA-x", secret_key="very-secret",
    )  # fmt: skip
    save_schedule(schedule)
    return {
        "key_id": key.pk,
        "schedule_id": schedule.pk,
        "request_id": log(tenant, user=person).pk,
        "budget_id": budget.pk,
        "asked_id": asked.pk,
        "event_id": event.pk,
        "membership_id": Membership.objects.get(tenant=tenant, person=person).pk,
        "number": statement.number,
        "label": statement.period.label,
        "file_id": statement.files.values_list("pk", flat=True).first(),
        "invitation_id": waiting.pk,
        "month": "2026-10",  # one without a statement
        "format_name": "csv",
    }


def statement_of(tenant: Tenant) -> Statement:
    if known := Statement.objects.filter(tenant=tenant).first():
        return known
    start = now().replace(year=2020, month=1, day=1)
    month = BillingPeriod.objects.create(
        tenant=tenant, label="2020-01", starts_at=start, ends_at=start + timedelta(days=31)
    )
    return close_period(month)


def addresses(slug: str, rows: dict[str, Any]) -> dict[str, str]:
    found = {}
    for pattern in urls.urlpatterns:
        if pattern.name in LEFT_OUT:
            continue
        parts = {name: rows[name] for name in pattern.pattern.converters if name != "tenant"}
        found[str(pattern.name)] = reverse(f"portal:{pattern.name}", kwargs={"tenant": slug, **parts})
    return found


def state(tenant: Tenant) -> list[Any]:
    """What a hostile request could change."""
    return [
        list(
            ApiKey.objects.filter(tenant=tenant)
            .order_by("pk")
            .values_list("pk", "revoked_at", "public_id", "rights")
        ),
        list(
            Budget.objects.filter(tenant=tenant).order_by("pk").values_list("pk", "limit_amount", "is_active")
        ),
        list(tenant.raise_requests.order_by("pk").values_list("pk", "state")),
        list(
            ReportSchedule.objects.filter(tenant=tenant)
            .order_by("pk")
            .values_list("pk", "target", "is_active")
        ),
        list(Membership.objects.filter(tenant=tenant).order_by("pk").values_list("pk", "role", "person")),
        list(AlertEvent.objects.filter(tenant=tenant).order_by("pk").values_list("pk", "acknowledged_at")),
        Tenant.objects.values_list("policy", "status").get(pk=tenant.pk),
    ]


def both(client: Client, address: str) -> set[int]:
    return {client.get(address).status_code, client.post(address, {"grace": "0", "end": "1"}).status_code}


def test_it_works(house: House) -> None:
    """An owner opens every page of her own."""
    alice = house.client(house.alice)
    for name, address in addresses(house.acme.slug, rows_of(house, house.acme, "alice")).items():
        answer = alice.get(address)
        assert answer.status_code in {200, 302, 405}, name
        assert answer.headers["cache-control"] == "no-store" or answer.status_code == 405, name


def test_a_stranger_sees_a_login_and_another_tenants_owner_nothing(house: House) -> None:
    rows = rows_of(house, house.acme, "alice")
    before, charlie = state(house.acme), house.client(house.charlie)
    for name, address in addresses(house.acme.slug, rows).items():
        assert both(Client(), address) == {302}, name
        assert both(charlie, address) == {404}, name
    assert state(house.acme) == before


def test_ids_of_another_tenant_lead_nowhere_in_ones_own(house: House) -> None:
    rows, own = (
        rows_of(house, house.umbrella, "charlie"),
        addresses(house.acme.slug, rows_of(house, house.acme, "alice")),
    )
    statement_of(house.acme)
    before, alice = state(house.umbrella), house.client(house.alice)
    for name, address in addresses(house.acme.slug, rows).items():
        if address == own[name]:
            continue  # an address without an id, or the same number of a statement
        assert both(alice, address) <= {404, 405}, name
    assert state(house.umbrella) == before


def test_a_member_meets_no_row_of_another_member(house: House) -> None:
    rows = rows_of(house, house.acme, "alice")
    before, bob = state(house.acme), house.client(house.bob)
    for name, address in addresses(house.acme.slug, rows).items():
        has_id = any(str(one) in address.split("/") for one in rows.values())
        if has_id or name in OWNERS | READERS:
            assert both(bob, address) <= {403, 404, 405}, name
    assert state(house.acme) == before


@pytest.mark.parametrize("name", ["bob", "fay"])
def test_a_role_opens_its_pages_and_no_others(house: House, name: str) -> None:
    rows = rows_of(house, house.acme, "alice")
    allowed = {
        "bob": set(PAGES) - OWNERS - READERS,
        "fay": set(PAGES) - OWNERS - (DEVELOPERS - {"request", "requests"}),
    }[name]
    client = house.client(getattr(house, name))
    for page, address in addresses(house.acme.slug, rows).items():
        status = client.get(address).status_code
        assert (status == 403) == (page not in allowed), page


def test_an_id_that_is_too_large_or_no_id_is_not_found(house: House) -> None:
    alice = house.client(house.alice)
    for page in (
        f"budgets/{10**40}/",
        f"months/{10**40}/",
        f"people/{10**40}/",
        f"requests/{uuid4()}/",
        "keys/-1/",
        "keys/x/",
    ):
        assert alice.get(house.at(page)).status_code == 404, page


def test_no_page_names_what_a_provider_is_paid(house: House) -> None:
    rows = rows_of(house, house.acme, "alice")
    alice = house.client(house.alice)
    for name, address in addresses(house.acme.slug, rows).items():
        text = b"".join(alice.get(address)).decode(errors="replace").lower()
        assert not any(word in text for word in ("provider_cost", "provider cost", "margin:")), name


def test_every_form_is_refused_from_elsewhere(house: House) -> None:
    rows = rows_of(house, house.acme, "alice")
    alice, before = house.client(house.alice), state(house.acme)
    alice.handler.enforce_csrf_checks = True
    for name, address in addresses(house.acme.slug, rows).items():
        assert alice.post(address, {"verdict": "grant", "end": "1"}).status_code == 403, name
    assert state(house.acme) == before
