"""What finance does in the admin: reports, closed months, credits, rules, re-ratings."""

import io
from datetime import timedelta
from decimal import Decimal

import openpyxl
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from billing.models import (
    BillingPeriod,
    EntryProposal,
    ManualEntry,
    RateRule,
    Rerating,
    Statement,
    UsageRecord,
)
from billing.months.exports import ASKED
from billing.months.files import bytes_of
from billing.months.jobs import working
from billing.months.report import opened_month
from tenants.models import AuditEntry, Tenant
from tests.admin.office import Office
from tests.admin.pressing import press
from tests.admin.test_pages import url_of
from tests.billing.months.jobs.threadless import ThreadlessPulse

pytestmark = [
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators"),
    pytest.mark.usefixtures("without_workers"),
]


@pytest.fixture(autouse=True)
def without_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "Pulse", ThreadlessPulse)


def test_the_month_is_made_into_files_as_the_command_writes_them(office: Office, olga: Client) -> None:
    month, page = f"{now():%Y-%m}", reverse("admin:billing_reports")
    for format_name in ("csv", "focus-1.2", "xlsx"):
        answer = olga.post(page, {"tenant": "acme", "month": month, "format": format_name})
        assert answer.status_code == 302
    shown = olga.get(page, {"tenant": "acme", "month": month}).content.decode()
    assert 'hx-trigger="every 2s"' in shown, "it looks again until they are made"
    job = working.work_next()
    assert job is not None
    assert job.asked_by == office.olga
    shown = olga.get(page, {"tenant": "acme", "month": month}).content.decode()
    assert "every 2s" not in shown
    with opened_month(office.acme, month=month, made_at=job.made_at) as report:
        for file in job.files.exclude(format="xlsx"):
            url = reverse("admin:billing_month_file", args=(file.pk,))
            assert url in shown
            buffer = io.BytesIO()
            ASKED[file.format][0].write(report, buffer)
            response = olga.get(url)
            assert b"".join(response) == buffer.getvalue()
            assert f'filename="acme-{month}' in response["Content-Disposition"]
            assert office.client(office.charlie).get(url).status_code == 404
    url = reverse("admin:billing_month_file", args=(job.files.get(format="xlsx").pk,))
    assert "Detail" in openpyxl.load_workbook(io.BytesIO(b"".join(olga.get(url)))).sheetnames


def test_the_files_of_all_tenants_are_for_who_may_close_everywhere(office: Office) -> None:
    page, month = reverse("admin:billing_reports"), f"{now():%Y-%m}"
    asked = {"tenant": "*", "month": month, "format": "focus-1.4"}
    fay = office.client(office.fay)
    assert fay.get(page, asked).status_code == 403
    assert fay.post(page, asked).status_code == 403
    root = office.client(User.objects.create_superuser("root-of-months"))
    assert root.post(page, asked).status_code == 302
    job = working.work_next()
    assert job is not None
    assert job.files.count() == 3
    url = reverse("admin:billing_month_file", args=(job.files.first().pk,))
    assert url in root.get(page, asked).content.decode()
    assert root.get(url).status_code == 200
    assert fay.get(url).status_code == 403


@pytest.mark.parametrize("query", [{"month": "2026-13"}, {"month": "x"}, {"tenant": "nobody"}])
def test_a_report_that_is_none_is_not_found(query: dict[str, str], office: Office, olga: Client) -> None:
    assert olga.get(reverse("admin:billing_reports"), query).status_code == 404


def test_finance_closes_a_month_and_takes_its_files(office: Office) -> None:
    starts_at, ends_at = now() - timedelta(days=900), now() - timedelta(days=870)
    month = BillingPeriod.objects.create(
        tenant=office.acme, label="2019-01", starts_at=starts_at, ends_at=ends_at
    )
    fay = office.client(office.fay)
    press(fay, "billing_billingperiod_close_month", month.pk)
    working.work_next()
    statement = Statement.objects.get(period=month)
    assert statement.issued_by == office.fay
    assert fay.get(url_of(Statement, "change", statement.pk)).status_code == 200
    for file in statement.files.all():
        url = reverse("admin:billing_statement_file", args=(file.pk,))
        assert b"".join(fay.get(url)) == bytes_of(file)
        assert office.client(office.charlie).get(url).status_code == 404
    # the month that runs is not closed
    running = office.row(BillingPeriod)
    press(fay, "billing_billingperiod_close_month", running.pk)
    running.refresh_from_db()
    assert running.status == "open"


def test_a_credit_is_entered_once(office: Office, olga: Client) -> None:
    add = url_of(EntryProposal, "add")
    fields = {
        "tenant": office.acme.pk, "kind": "credit", "subject": "user", "subject_value": "alice", "month": "",
        "amount_usd": "1.5", "reason": "an outage",
    }  # fmt: skip
    page = olga.post(add, {**fields, "_preview": "1"}).content.decode()
    assert "Not saved yet: credit of 1.5 USD to alice of" in page
    assert "More is given back than was paid." in page
    assert not EntryProposal.objects.filter(reason="an outage").exists()
    assert olga.post(add, fields).status_code == 302
    entry = ManualEntry.objects.get(reason="an outage")
    assert (entry.amount_usd, entry.entered_by, entry.approved_by) == (
        Decimal("-1.5"),
        office.olga,
        office.olga,
    )
    row = UsageRecord.objects.get(pk=entry.pk)
    assert (row.billed_cost, row.user_id) == (Decimal("-1.5"), "alice")
    assert AuditEntry.objects.filter(verb="created", object_id=str(entry.pk)).exists()
    for wrong, said in (
        ({"amount_usd": "-1"}, "above 0"),
        ({"subject_value": ""}, "Name the cost centre or the user"),
        ({"month": "2099-01"}, "2099-01 is no month of"),
    ):
        assert said in olga.post(add, {**fields, **wrong}, follow=True).content.decode()
    assert office.client(office.alice).get(add).status_code == 403


def test_with_four_eyes_another_person_books_a_credit(office: Office, olga: Client) -> None:
    Tenant.objects.filter(pk=office.acme.pk).update(policy={"closing": {"four_eyes": True}})
    fields = {
        "tenant": office.acme.pk, "kind": "credit", "subject": "tenant", "subject_value": "", "month": "",
        "amount_usd": "2", "reason": "two people",
    }  # fmt: skip
    page = olga.post(url_of(EntryProposal, "add"), {**fields, "_preview": "1"}).content.decode()
    assert "waits until somebody else approves it" in page
    olga.post(url_of(EntryProposal, "add"), fields)
    proposal = EntryProposal.objects.get(reason="two people")
    press(olga, "billing_entryproposal_approve", proposal.pk)
    proposal.refresh_from_db()
    assert proposal.status == "proposed"  # not by who entered it
    other = User.objects.create(username="fiona", is_staff=True, is_superuser=True)
    press(office.client(other), "billing_entryproposal_approve", proposal.pk)
    proposal.refresh_from_db()
    assert (proposal.status, proposal.decided_by) == ("booked", other)
    entry = ManualEntry.objects.get(pk=proposal.pk)
    assert (entry.entered_by, entry.approved_by) == (office.olga, other)


def test_a_rate_rule_is_set_and_ended(office: Office, olga: Client) -> None:
    fields = {
        "tenant": office.acme.pk,
        "priority": 900,
        "kind": "discount_pct",
        "value": "10",
        "model": "gpt-4*",
    }
    assert olga.post(url_of(RateRule, "add"), fields).status_code == 302
    rule = RateRule.objects.get(priority=900)
    assert rule.created_by == office.olga
    press(olga, "billing_raterule_end", rule.pk)
    rule.refresh_from_db()
    assert rule.valid_to is not None


def test_a_backdated_rule_says_what_it_changes_before_it_is_set(office: Office, olga: Client) -> None:
    fields = {
        "tenant": office.acme.pk, "priority": 901, "kind": "discount_pct", "value": "10", "_preview": "1",
        "valid_from": f"{now() - timedelta(days=400):%Y-%m-%dT%H:%M}", "valid_to": "",
    }  # fmt: skip
    page = olga.post(url_of(RateRule, "add"), fields).content.decode()
    assert "Not saved yet" in page
    assert "re-rating of what was billed since is proposed within a minute" in page
    assert not RateRule.objects.filter(priority=901).exists()
    del fields["_preview"]
    assert olga.post(url_of(RateRule, "add"), fields).status_code == 302
    rule = RateRule.objects.get(priority=901)
    assert "is looked at within a minute" in olga.get(url_of(RateRule, "change", rule.pk)).content.decode()
    # another one that would run into it is refused, and says why
    page = olga.post(
        url_of(RateRule, "add"),
        {**fields, "valid_from": f"{now() - timedelta(days=500):%Y-%m-%dT%H:%M}"},
        follow=True,
    ).content.decode()
    assert "another rule of this priority begins" in page


def test_a_rerating_is_decided(office: Office, olga: Client) -> None:
    rerating = office.row(Rerating)
    press(olga, "billing_rerating_reject", rerating.pk)
    rerating.refresh_from_db()
    assert (rerating.status, rerating.decided_by) == ("rejected", office.olga)
    press(olga, "billing_rerating_approve", rerating.pk)  # too late, and says so
    rerating.refresh_from_db()
    assert rerating.status == "rejected"


def test_with_four_eyes_another_person_closes_a_month(office: Office) -> None:
    Tenant.objects.filter(pk=office.acme.pk).update(policy={"closing": {"four_eyes": True}})
    starts_at, ends_at = now() - timedelta(days=900), now() - timedelta(days=870)
    month = BillingPeriod.objects.create(
        tenant=office.acme, label="2019-02", starts_at=starts_at, ends_at=ends_at
    )
    fay = office.client(office.fay)
    other = office.client(User.objects.create(username="gina", is_staff=True, is_superuser=True))
    page = url_of(BillingPeriod, "change", month.pk)
    confirms = reverse("admin:billing_billingperiod_confirm_close", args=(month.pk,))
    assert confirms not in fay.get(page).content.decode()
    press(fay, "billing_billingperiod_close_month", month.pk)
    month.refresh_from_db()
    assert (month.status, month.close_asked_by) == ("open", office.fay)
    assert confirms not in fay.get(page).content.decode()  # not to who asked
    shown = other.get(page).content.decode()
    assert confirms in shown
    assert f"{office.fay.username}, <time" in shown
    assert "waits for another person" in shown
    press(fay, "billing_billingperiod_confirm_close", month.pk)
    month.refresh_from_db()
    assert month.status == "open"
    assert office.client(office.charlie).post(confirms, {"_form_submitted": "on"}).status_code in (403, 404)
    press(other, "billing_billingperiod_confirm_close", month.pk)
    working.work_next()
    month.refresh_from_db()
    assert month.status == "closed"
    for verb, person in (("Close (billing period)", "fay"), ("Confirm close (billing period)", "gina")):
        assert AuditEntry.objects.filter(verb=verb, object_id=str(month.pk), name__icontains=person).exists()
