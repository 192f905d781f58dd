"""People see the tenants they look after, owners change them, and nobody else sees anything."""

from itertools import count
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from billing.models import Budget
from tenants.admin.access import TenantScopedAdmin
from tenants.models import ApiKey, Membership, Tenant
from tenants.people.rights import TENANT_ROLES
from tests.admin.office import Office
from tests.admin.test_pages import url_of

SCOPED = [model for model, page in admin.site._registry.items() if isinstance(page, TenantScopedAdmin)]
GLOBAL = [model for model, page in admin.site._registry.items() if not isinstance(page, TenantScopedAdmin)]


def test_it_works(office: Office) -> None:
    client = office.client(office.fay)
    page = client.get(url_of(Tenant, "changelist")).content.decode()
    assert "acme" in page
    assert "umbrella" not in page
    assert client.get(reverse("admin:index")).status_code == 200


def test_an_outsider_sees_no_row(office: Office) -> None:
    client = office.client(office.charlie)
    for model in SCOPED:
        row = office.row(model)
        response = client.get(url_of(model, "changelist"))
        assert response.status_code == 200, model
        shown = response.context["cl"].result_list if "cl" in response.context else ()  # or a page of its own
        assert row.pk not in [one.pk for one in shown], model
        # "does not exist", back to the index
        assert client.get(url_of(model, "change", row.pk)).status_code == 302, model
        assert client.get(url_of(model, "history", row.pk)).status_code in (302, 403, 404), model


def test_finance_reads_and_changes_nothing(office: Office) -> None:
    client = office.client(office.fay)
    for model in SCOPED:
        row = office.row(model)
        pages = admin.site._registry[model]
        if pages.changed_with in TENANT_ROLES["finance"]:  # what finance owns
            continue
        seen = 200 if pages.seen_with in TENANT_ROLES["finance"] else 403
        assert client.get(url_of(model, "changelist")).status_code == seen, model
        assert client.get(url_of(model, "change", row.pk)).status_code == seen, model
        assert client.get(url_of(model, "add")).status_code == 403, model
        assert client.post(url_of(model, "change", row.pk), {}).status_code == 403, model
        assert client.post(url_of(model, "delete", row.pk), {"post": "yes"}).status_code == 403, model


def test_what_belongs_to_no_tenant_is_for_operators(office: Office) -> None:
    for person in (office.alice, office.fay, office.charlie):
        client = office.client(person)
        for model in GLOBAL:
            assert client.get(url_of(model, "changelist")).status_code == 403, (person, model)


def test_staff_without_a_membership_sees_nothing(office: Office) -> None:
    client = office.client(User.objects.create(username="dora", is_staff=True))
    for model in SCOPED:
        assert client.get(url_of(model, "changelist")).status_code == 403, model
        assert client.get(url_of(model, "change", office.row(model).pk)).status_code in (302, 403), model


def test_a_mere_member_sees_nothing(office: Office) -> None:
    member = User.objects.create(username="emil", is_staff=True)
    Membership.objects.create(tenant=office.acme, user=member, role="member")
    assert office.client(member).get(url_of(Budget, "changelist")).status_code == 403


def test_an_owner_cannot_give_a_row_to_another_tenant(office: Office) -> None:
    fields = {
        "scope": "tenant", "value": "", "unit": "usd", "period": "month", "limit_amount": "7", "mode": "hard",
        "alert_at": "[80]", "is_active": "on",
    }  # fmt: skip
    client = office.client(office.alice)
    refused = client.post(url_of(Budget, "add"), {**fields, "tenant": office.umbrella.pk})
    assert refused.status_code == 200
    assert not Budget.objects.filter(tenant=office.umbrella).exists()
    assert client.post(url_of(Budget, "add"), {**fields, "tenant": office.acme.pk}).status_code == 302
    assert Budget.objects.filter(tenant=office.acme, scope="tenant").exists()


def test_the_choice_of_tenants_is_ones_own(office: Office) -> None:
    everybody = set(Tenant.objects.values_list("slug", flat=True))
    assert everybody >= {"acme", "umbrella"}
    for person, slugs in ((office.alice, {"acme"}), (office.charlie, {"umbrella"}), (office.olga, everybody)):
        assert offered_tenants(office.client(person)) == slugs


def offered_tenants(client: Client) -> set[str]:
    """What the field of a budget's tenant offers, over all its pages."""
    query = {"app_label": "billing", "model_name": "budget", "field_name": "tenant", "term": ""}
    found: set[str] = set()
    for page in count(1):
        answer = client.get(reverse("admin:autocomplete"), {**query, "page": page}).json()
        found |= {result["text"] for result in answer["results"]}
        if not answer["pagination"]["more"]:
            break
    return found


@pytest.mark.parametrize(
    ("model", "action"),
    [
        (Tenant, "tenants_tenant_pause"),
        (ApiKey, "tenants_apikey_revoke"),
        (ApiKey, "tenants_apikey_rotate"),
        (Budget, "billing_budget_raise_until"),
    ],
)
def test_actions_are_for_owners(model: type[Any], action: str, office: Office) -> None:
    url = reverse(f"admin:{action}", args=(office.row(model).pk,))
    answers = {
        "_form_submitted": "on", "reason": "x", "grace_hours": 1, "extra_amount": 1, "ends_at": "2099-01-01T00:00"
    }  # fmt: skip
    assert office.client(office.fay).post(url, answers).status_code == 403
    assert office.client(office.charlie).post(url, answers).status_code == 404
    assert office.client(office.alice).post(url, answers).status_code in (200, 302)


def test_the_report_is_ones_own(office: Office) -> None:
    url = reverse("admin:billing_reports")
    assert office.client(office.fay).get(url, {"tenant": "acme"}).status_code == 200
    for format_name in ("", "csv", "xlsx", "focus"):
        query = {"tenant": "acme", "format": format_name}
        assert office.client(office.charlie).get(url, query).status_code == 404
