"""Schedules of reports in the admin, and agreements that another person approves."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from billing.models import (
    AgreementProposal,
    Commitment,
    PrepaidBalance,
    PrepaidEntry,
    RateRule,
    ReportDelivery,
    ReportSchedule,
)
from tenants.models import Tenant
from tests.admin.office import Office
from tests.admin.pressing import press
from tests.admin.test_pages import url_of


def answers_of(office: Office, **values: Any) -> dict[str, Any]:
    facts = {
        "tenant": office.acme.pk, "name": "books", "is_active": "on", "what": "report", "formats": ["csv", "pdf"],
        "when": "close", "day": "", "hour": "6", "kind": "s3", "target": "finance/in", "endpoint": "",
        "region": "eu-central-1", "new_access_key": "AKIA-y", "new_secret_key": "quite-secret",
    }  # fmt: skip
    return facts | values


def test_it_works(office: Office, olga: Client) -> None:
    added = olga.post(url_of(ReportSchedule, "add"), answers_of(office))
    assert added.status_code == 302, added.context["adminform"].form.errors
    schedule = ReportSchedule.objects.get(name="books")
    assert (schedule.secret_key, schedule.formats, schedule.created_by) == (
        "quite-secret",
        ["csv", "pdf"],
        office.olga,
    )
    page = url_of(ReportSchedule, "change", schedule.pk)
    assert "quite-secret" not in olga.get(page).content.decode()
    kept = answers_of(office, hour="9", new_access_key="", new_secret_key="")
    assert olga.post(page, kept).status_code == 302
    schedule.refresh_from_db()
    assert (schedule.secret_key, schedule.hour) == ("quite-secret", 9)
    press(olga, "billing_reportschedule_deliver_now", schedule.pk, month="2026-10")
    delivery = ReportDelivery.objects.get(schedule=schedule)
    assert (delivery.month, delivery.state) == ("2026-10", "waiting")
    assert "its files are being made" in olga.get(page).content.decode()
    assert olga.post(url_of(ReportSchedule, "delete", schedule.pk), {"post": "yes"}).status_code == 302
    assert not ReportSchedule.objects.filter(name="books").exists()


def test_all_tenants_and_folders_are_the_operators(
    office: Office, olga: Client, settings: Any, tmp_path: Any
) -> None:
    settings.REPORTS_FOLDER = str(tmp_path)
    alice = office.client(office.alice)
    for wrong in (
        {"tenant": ""},
        {"kind": "folder", "region": ""},
        {"kind": "email", "target": "x@example.com", "region": ""},
    ):
        answer = alice.post(url_of(ReportSchedule, "add"), answers_of(office, **wrong))
        assert answer.status_code == 200, wrong
    assert not ReportSchedule.objects.filter(name="books").exists()
    everybodys = answers_of(office, tenant="", kind="folder", region="", target="finance")
    assert olga.post(url_of(ReportSchedule, "add"), everybodys).status_code == 302
    schedule = ReportSchedule.objects.get(name="books")
    assert schedule.tenant is None
    assert alice.get(url_of(ReportSchedule, "change", schedule.pk)).status_code in (302, 403, 404)
    assert "finance" not in alice.get(url_of(ReportSchedule, "changelist")).content.decode().replace(
        "finance/purser", ""
    )


def test_what_was_given_up_is_tried_again(office: Office, olga: Client) -> None:
    delivery = office.row(ReportDelivery)
    press(olga, "billing_reportdelivery_try_again", delivery.pk)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.last_error) == ("waiting", 0, "")


@pytest.fixture
def careful(office: Office) -> Tenant:
    Tenant.objects.filter(pk=office.acme.pk).update(policy={"closing": {"four_eyes": True}})
    office.acme.refresh_from_db()
    return office.acme


@pytest.fixture
def fiona(office: Office) -> Client:
    return office.client(User.objects.create(username="fiona", is_staff=True, is_superuser=True))


def test_agreements_wait_for_another_person(
    office: Office, olga: Client, careful: Tenant, fiona: Client
) -> None:
    AgreementProposal.objects.all().delete()
    balance = office.row(PrepaidBalance)
    press(
        olga, "billing_prepaidbalance_top_up", balance.pk, amount_usd="7", kind="top_up", reason="invoice 99", expires_at="",
    )  # fmt: skip
    rule = {"tenant": careful.pk, "priority": 900, "kind": "discount_pct", "value": "10", "model": "gpt-4*"}
    answer = olga.post(url_of(RateRule, "add"), rule, follow=True)
    assert "It waits until somebody else approves it" in answer.content.decode()
    least = {
        "tenant": careful.pk,
        "span": "year",
        "amount_usd": "5",
        "first_month": "2098-01",
        "last_month": "2098-12",
    }
    olga.post(url_of(Commitment, "add"), least)
    kinds = {"prepaid_add", "rate_rule", "commitment"}
    waiting = list(AgreementProposal.objects.filter(status="proposed"))
    assert {one.kind for one in waiting} == kinds
    assert {one.proposed_by for one in waiting} == {office.olga}
    for proposal in waiting:
        press(olga, "billing_agreementproposal_approve", proposal.pk)
        proposal.refresh_from_db()
        assert proposal.status == "proposed"
    assert not PrepaidEntry.objects.filter(reason="invoice 99").exists()
    for proposal in waiting:
        press(fiona, "billing_agreementproposal_approve", proposal.pk)
        proposal.refresh_from_db()
        assert proposal.status == "done", proposal
    assert PrepaidEntry.objects.get(reason="invoice 99").amount_usd == Decimal(7)
    assert RateRule.objects.get(tenant=careful, priority=900).created_by == office.olga
    assert Commitment.objects.filter(tenant=careful, first_month="2098-01").exists()
