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
from tests.admin.office import Office
from tests.admin.pressing import press
from tests.admin.test_pages import url_of
from tests.billing.months.jobs.threadless import ThreadlessPulse

pytestmark = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")


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
    fields = {"tenant": office.acme.pk, "kind": "credit", "amount_usd": "1.5", "reason": "an outage"}
    assert olga.post(url_of(ManualEntry, "add"), fields).status_code == 302
    entry = ManualEntry.objects.get(reason="an outage")
    assert (entry.amount_usd, entry.entered_by) == (Decimal("-1.5"), office.olga)
    assert UsageRecord.objects.get(pk=entry.pk).billed_cost == Decimal("-1.5")
    assert "above 0" in olga.post(url_of(ManualEntry, "add"), {**fields, "amount_usd": "-1"}).content.decode()
    assert office.client(office.alice).get(url_of(ManualEntry, "add")).status_code == 403


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
