"""Whose cost it is, in the admin: tags of keys and users, split rules whose effect is shown first, chargebacks."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import BillingPeriod, SplitRule
from billing.months.chargeback_sheets import file_of
from tenants.models import ApiKey, EndUser
from tests.admin.office import Office

ADD = "admin:billing_splitrule_add"
RULE = {
    "name": "platform",
    "place": 5,
    "source": "unallocated",
    "tag": "",
    "value": "",
    "method": "fixed",
    "shares": "4711 60\nresearch and development 40",
    "first_month": "2020-01",
    "last_month": "",
}


def test_it_works(office: Office, olga: Client) -> None:
    """A rule is set only after its effect was shown; what was shown is what is set."""
    answers: dict[str, Any] = {"tenant": office.acme.pk, **RULE}
    count = SplitRule.objects.count()
    preview = olga.post(reverse(ADD), {**answers, "_preview": "1"})
    page = preview.content.decode()
    assert "Not saved yet" in page
    assert "research and development" in page
    assert SplitRule.objects.count() == count
    assert olga.post(reverse(ADD), answers).status_code == 302
    rule = SplitRule.objects.latest("pk")
    assert rule.shares == [["4711", "60"], ["research and development", "40"]]
    assert rule.created_by == office.olga


@pytest.mark.parametrize(
    ("field", "value"),
    [("shares", "4711 60\nops 39"), ("first_month", "2020"), ("value", "x"), ("shares", "4711 sixty")],
)
def test_a_rule_that_means_nothing_is_shown_as_such(
    office: Office, olga: Client, field: str, value: str
) -> None:
    count = SplitRule.objects.count()
    answers = {"tenant": office.acme.pk, **RULE, field: value}
    for more in ({"_preview": "1"}, {}):
        page = olga.post(reverse(ADD), answers | more)
        assert page.status_code == 200
        assert page.context["adminform"].form.errors
    assert SplitRule.objects.count() == count


def test_chargebacks_are_shown_and_sent(office: Office, olga: Client) -> None:
    period = BillingPeriod.objects.filter(tenant=office.acme).latest("starts_at")
    where = {"tenant": "acme", "month": period.label}
    page = olga.get(reverse("admin:billing_chargebacks"), where)
    assert page.status_code == 200
    assert "Chargebacks by cost centre" in page.content.decode()
    sent = olga.get(reverse("admin:billing_chargebacks"), where | {"format": "json"})
    assert json.loads(sent.content) == json.loads(file_of(period, format_name="json")[1])
    for wrong in (
        {"format": "docx"},
        {"format": "pdf"},
        {"format": "csv", "cost_center": "unknown"},
        {"month": "x"},
    ):
        assert olga.get(reverse("admin:billing_chargebacks"), where | wrong).status_code == 404


def test_a_month_of_a_strangers_tenant_is_not_found(office: Office) -> None:
    period = BillingPeriod.objects.filter(tenant=office.acme).latest("starts_at")
    where = {"tenant": "acme", "month": period.label}
    stranger = office.client(office.charlie)
    assert stranger.get(reverse("admin:billing_chargebacks"), where).status_code in (302, 403, 404)


def test_tags_of_a_user_are_one_line(office: Office, olga: Client) -> None:
    user = EndUser.objects.filter(tenant=office.acme).first()
    assert user is not None
    url = reverse("admin:tenants_enduser_change", args=(user.pk,))
    answers = {
        "external_id": user.external_id,
        "display_name": "",
        "cost_center": "77",
        "team": "",
        "is_active": "on",
    }
    assert olga.post(url, answers | {"tags": "project=apollo, env=prod"}).status_code == 302
    user.refresh_from_db()
    assert (user.cost_center, user.tags) == ("77", {"project": "apollo", "env": "prod"})
    for wrong in ({"tags": "apollo"}, {"tags": "cost_center=1"}, {"tags": "", "team": "unknown"}):
        page = olga.post(url, answers | wrong)
        assert page.status_code == 200
        assert page.context["adminform"].form.errors


def test_a_key_is_issued_with_tags(office: Office, olga: Client) -> None:
    answers = {"tenant": office.acme.pk, "name": "tagged", "models": '["*"]', "ip_allow_list": "[]"}
    assert (
        olga.post(reverse("admin:tenants_apikey_add"), answers | {"tags": "cost_center=9"}).status_code == 200
    )
    assert ApiKey.objects.get(tenant=office.acme, name="tagged").tags == {"cost_center": "9"}
