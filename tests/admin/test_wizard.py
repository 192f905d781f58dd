"""A tenant is opened with a key and a budget in one form, and is unlimited only if somebody says so."""

from decimal import Decimal
from typing import Any

from django.test import Client
from django.urls import reverse

from billing.models import Budget
from tenants.models import ApiKey, EndUser, Tenant
from tenants.tenancy import pause_tenant
from tests.admin.office import Office

ADD = "admin:tenants_tenant_add"
FORM = {
    "name": "Initech",
    "slug": "initech",
    "timezone": "Europe/Berlin",
    "key_name": "first",
    "monthly_budget_usd": "250",
    "rpm": "600",
    "concurrency": "50",
}


def open_with(client: Client, **changes: Any) -> str:
    form = {name: value for name, value in {**FORM, **changes}.items() if value is not None}
    return client.post(reverse(ADD), form).content.decode()


def test_it_works(office: Office, olga: Client) -> None:
    page = open_with(olga, user="peter")
    tenant = Tenant.objects.get(slug="initech")
    key = ApiKey.objects.get(tenant=tenant)
    budget = Budget.objects.get(tenant=tenant)
    assert f"psr_{key.public_id}_" in page
    assert (key.name, key.user, tenant.timezone) == ("first", "peter", "Europe/Berlin")
    assert (budget.scope, budget.unit, budget.period, budget.limit_amount) == (
        "tenant",
        "usd",
        "month",
        Decimal(250),
    )
    assert (budget.mode, budget.set_by) == ("hard", "platform")
    assert EndUser.objects.get(tenant=tenant).external_id == "peter"
    assert tenant.rate_limits == {"rpm": 600, "concurrency": 50}
    assert tenant.history.get().history_user == office.olga


def test_no_limit_must_be_chosen(office: Office, olga: Client) -> None:
    assert "say that there is no limit" in open_with(olga, monthly_budget_usd=None)
    assert "not both" in open_with(olga, has_no_limit="on")
    assert not Tenant.objects.filter(slug="initech").exists()
    assert "Choose a rate limit" in open_with(olga, rpm=None, concurrency=None)
    assert not Tenant.objects.filter(slug="initech").exists()
    open_with(olga, monthly_budget_usd=None, has_no_limit="on", has_no_rate_limit="on")
    assert (
        Tenant.objects.get(slug="initech").rate_limits == {}
    )  # what stands in the fields counts for nothing
    tenant = Tenant.objects.get(slug="initech")
    assert not Budget.objects.filter(tenant=tenant).exists()
    page = olga.get(reverse("admin:tenants_tenant_change", args=(tenant.pk,))).content.decode()
    assert "no monthly budget and no rate limit" in page
    assert "Set a monthly budget" in page
    assert (
        "no limit" in olga.get(reverse("admin:tenants_tenant_changelist"), {"q": "initech"}).content.decode()
    )


def test_a_wrong_answer_opens_nothing(office: Office, olga: Client) -> None:
    keys = ApiKey.objects.count()
    wrong: dict[str, Any]
    for wrong in (
        {"monthly_budget_usd": "0"},
        {"monthly_budget_usd": "-5"},
        {"monthly_budget_usd": "NaN"},
        {"timezone": "Mars/Olympus"},
        {"slug": "acme"},
        {"slug": "no slug!"},
        {"key_name": "k" * 101},
        {"user": "u" * 201},
        {"rpm": "0"},
        {"tpm": "fast"},
    ):
        assert "psr_" not in open_with(olga, **wrong).replace("psr_…", ""), wrong
    assert not Tenant.objects.filter(slug="initech").exists()
    assert ApiKey.objects.count() == keys


def test_only_an_operator_opens_one(office: Office) -> None:
    assert office.client(office.alice).get(reverse(ADD)).status_code == 403
    assert office.client(office.alice).post(reverse(ADD), FORM).status_code == 403


def test_only_what_its_state_allows_is_offered(office: Office, olga: Client) -> None:
    url = reverse("admin:tenants_tenant_change", args=(office.acme.pk,))
    pause, resume = (f"/admin/tenants/tenant/{office.acme.pk}/{verb}" for verb in ("pause", "resume"))
    page = olga.get(url).content.decode()
    assert pause in page
    assert resume not in page
    pause_tenant(office.acme)
    page = olga.get(url).content.decode()
    assert pause not in page
    assert resume in page


def test_a_revoked_key_offers_nothing_more(office: Office, olga: Client) -> None:
    key = office.row(ApiKey)
    url = reverse("admin:tenants_apikey_change", args=(key.pk,))
    assert f"/{key.pk}/revoke" in olga.get(url).content.decode()
    olga.post(reverse("admin:tenants_apikey_revoke", args=(key.pk,)), {"_form_submitted": "on"})
    assert f"/{key.pk}/revoke" not in olga.get(url).content.decode()


def test_a_budgets_page_shows_its_raises(office: Office, olga: Client) -> None:
    budget = office.row(Budget)
    page = olga.get(reverse("admin:billing_budget_change", args=(budget.pk,))).content.decode()
    assert "5 + 1 raised USD" in page
    assert "6 USD per day" in page
    assert "launch" in page
    assert "End it" in page


def test_the_dialog_of_a_raise_shows_no_stranger_what_a_budget_has(office: Office) -> None:
    budget = office.row(Budget)
    url = reverse("admin:billing_budget_raise_until", args=(budget.pk,))
    assert "6 USD per day" in office.client(office.olga).get(url).content.decode()
    assert "6 USD per day" not in office.client(office.charlie).get(url).content.decode()
