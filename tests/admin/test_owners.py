"""Owners look after their tenant, within what the platform set: no owner lifts an operator's limit or suspension."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import Budget, BudgetRaise, RaiseRequest
from tenants.models import Tenant
from tenants.tenancy import SuspendedByOperator, pause_tenant, resume_tenant, suspend_tenant
from tests.admin.office import Office
from tests.admin.pressing import SUBMITTED
from tests.admin.test_pages import url_of

REASON = {**SUBMITTED, "reason": "x", "extra_amount": "1", "ends_at": "2099-01-01T00:00"}
FIELDS = {
    "scope": "tenant", "value": "", "unit": "usd", "period": "month", "limit_amount": "7", "mode": "hard",
    "alert_at": "[80]", "is_active": "on", "shards": "1",
}  # fmt: skip
NO_RAISES = {"raises-TOTAL_FORMS": 0, "raises-INITIAL_FORMS": 0}
NO_MEMBERS = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}


@pytest.fixture
def alice(office: Office) -> Client:
    return office.client(office.alice)


def pressed(client: Client, model: type[Any], button: str, row: Any) -> int:
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{button}", args=(row.pk,))
    return client.post(url, REASON).status_code


def status_of(tenant: Tenant) -> str:
    tenant.refresh_from_db()
    return tenant.status


class TestSuspension:
    def test_it_works(self, office: Office, alice: Client) -> None:
        pressed(alice, Tenant, "pause", office.acme)
        assert status_of(office.acme) == "paused"
        pressed(alice, Tenant, "resume", office.acme)
        assert status_of(office.acme) == "active"

    def test_an_owner_does_not_lift_a_suspension(self, office: Office, alice: Client) -> None:
        suspend_tenant(office.acme, acting_user=office.olga)
        for button in ("resume", "pause", "resume"):
            pressed(alice, Tenant, button, office.acme)
            assert status_of(office.acme) == "suspended"

    def test_a_pause_does_not_hide_a_suspension(self, office: Office, alice: Client) -> None:
        pressed(alice, Tenant, "pause", office.acme)
        pressed(office.client(office.olga), Tenant, "suspend", office.acme)
        pressed(alice, Tenant, "resume", office.acme)
        assert status_of(office.acme) == "suspended"

    def test_an_owner_suspends_nobody(self, office: Office, alice: Client) -> None:
        assert pressed(alice, Tenant, "suspend", office.acme) == 403
        assert status_of(office.acme) == "active"

    def test_the_verbs_know_it_too(self, office: Office) -> None:
        suspend_tenant(office.acme)
        for verb in (resume_tenant, pause_tenant):
            with pytest.raises(SuspendedByOperator):
                verb(office.acme, acting_user=office.alice)
        assert resume_tenant(office.acme, acting_user=office.olga)


class TestLimits:
    def test_what_an_owner_adds_is_the_tenants(self, office: Office, alice: Client) -> None:
        added = alice.post(url_of(Budget, "add"), {**FIELDS, "tenant": office.acme.pk, "set_by": "platform"})
        budget = Budget.objects.get(tenant=office.acme, scope="tenant")
        assert (added.status_code, budget.set_by) == (302, "tenant")
        assert (
            alice.post(
                url_of(Budget, "change", budget.pk), {**FIELDS, **NO_RAISES, "limit_amount": "9"}
            ).status_code
            == 302
        )
        budget.refresh_from_db()
        assert budget.limit_amount == 9

    def test_what_an_operator_adds_is_the_platforms(self, office: Office, olga: Client) -> None:
        assert 'value="platform" selected' in olga.get(url_of(Budget, "add")).content.decode()
        olga.post(url_of(Budget, "add"), {**FIELDS, "tenant": office.acme.pk, "set_by": "platform"})
        assert Budget.objects.get(tenant=office.acme, scope="tenant").set_by == "platform"

    def test_an_owner_changes_nothing_of_the_platforms(self, office: Office, alice: Client) -> None:
        budget, raised = office.row(Budget), office.row(BudgetRaise)
        asked = office.row(RaiseRequest)
        Budget.objects.filter(pk=budget.pk).update(set_by="platform")
        assert alice.get(url_of(Budget, "change", budget.pk)).status_code == 200
        assert alice.post(url_of(Budget, "change", budget.pk), FIELDS).status_code == 403
        assert pressed(alice, Budget, "raise_until", budget) == 403
        assert pressed(alice, BudgetRaise, "end_now", raised) == 403
        for button in ("approve", "refuse"):
            assert pressed(alice, RaiseRequest, button, asked) == 403
        assert pressed(alice, Budget, "ask_for_raise", budget) == 302
        budget.refresh_from_db()
        assert (budget.limit_amount, budget.raises.count()) == (5, 1)
        assert pressed(office.client(office.olga), RaiseRequest, "approve", asked) == 302
        assert budget.raises.count() == 2

    def test_an_owner_decides_on_their_own_budgets(self, office: Office, alice: Client) -> None:
        assert pressed(alice, Budget, "raise_until", office.row(Budget)) == 302
        assert pressed(alice, RaiseRequest, "approve", office.row(RaiseRequest)) == 302
        assert BudgetRaise.objects.filter(approved_by=office.alice).count() == 2

    def test_the_tenants_rate_limits_are_the_platforms(self, office: Office, alice: Client) -> None:
        Tenant.objects.filter(pk=office.acme.pk).update(rate_limits={"rpm": 5})
        fields = {"name": "Acme", "timezone": "UTC", "rpm": "5000"}
        assert alice.post(url_of(Tenant, "change", office.acme.pk), fields).status_code == 302
        office.acme.refresh_from_db()
        assert (office.acme.name, office.acme.rate_limits) == ("Acme", {"rpm": 5})
        office.client(office.olga).post(url_of(Tenant, "change", office.acme.pk), fields | NO_MEMBERS)
        office.acme.refresh_from_db()
        assert office.acme.rate_limits == {"rpm": 5000}

    def test_parts_of_the_policy_are_the_platforms(self, office: Office, alice: Client) -> None:
        Tenant.objects.filter(pk=office.acme.pk).update(policy={"closing": {"grace_hours": 24}})
        url = reverse("admin:tenants_tenant_policy", args=(office.acme.pk,))
        for policy, told in (
            ('{"closing": {"grace_hours": 24}, "log_prompts": true}', "Not saved yet"),
            ('{"closing": {"grace_hours": 2000}}', "Set by operators only: closing"),
            ("{}", "Set by operators only: closing"),
        ):
            assert told in alice.post(url, {"way": "json", "policy": policy}).content.decode(), policy
        form = {"closing__grace_hours": "2000", "cache__exact": "on"}
        answer = alice.post(url, {"way": "form", **form})
        assert answer.context["policy_form"].errors == {}
        page = answer.content.decode()
        assert "grace_hours" not in page.split("Not saved yet")[1].split("</ul>")[0]
