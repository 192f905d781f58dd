"""The month of all tenants adds up to each of theirs, and to the ledger; strangers stay apart; the margin is the operator's."""

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import connection

from billing.models import BillingPeriod
from billing.months.exports import FORMATS
from billing.months.parts import MonthReport
from billing.months.platform import platform_report
from billing.months.report import month_report
from tenants.models import Tenant
from tests.billing.months.reports.conftest import Books
from tests.billing.months.reports.test_formats import pages_of
from tests.billing.months.reports.test_reports import rows_of, written

MONTH = "2026-11"


async def platform() -> MonthReport:
    return await sync_to_async(platform_report)(MONTH)


def ledger(column: str) -> Decimal:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT coalesce(sum({column}), 0) FROM billing_usagerecord WHERE period_id IN"
            " (SELECT id FROM billing_billingperiod WHERE label = %s)",
            [MONTH],
        )
        return Decimal(cursor.fetchone()[0])


async def test_it_works(books: Books) -> None:
    report = await platform()
    own = await sync_to_async(month_report)(books.tenant, month=MONTH)
    assert report.totals.billed_cost_usd == await sync_to_async(ledger)("billed_cost")
    tenants = next(section for section in report.sections if section.name == "tenants")
    mine = next(group for group in tenants.groups if group.labels[0] == books.tenant.slug)
    assert mine.measures == own.totals
    for section in report.sections:
        assert (
            sum(group.measures.billed_cost_usd for group in section.groups) == report.totals.billed_cost_usd
        )
    first, *steps, last = report.waterfall
    assert first.amount_usd - sum(step.amount_usd for step in steps) == last.amount_usd
    assert last.amount_usd == report.totals.billed_cost_usd


async def test_the_margin_is_what_is_billed_less_what_providers_ask(books: Books) -> None:
    report = await platform()
    for name, column in (("billed_usd", "billed_cost"), ("provider_cost_usd", "provider_cost")):
        assert sum(getattr(one, name) for one in report.margins) == await sync_to_async(ledger)(column)
    for one in report.margins:
        assert one.margin_usd == one.billed_usd - one.provider_cost_usd


async def test_users_of_different_tenants_are_not_added_together(books: Books) -> None:
    report = await platform()
    users = next(section for section in report.sections if section.name == "users")
    assert users.dimensions[0] == "tenant"
    slugs = {group.labels[0] for group in users.groups if group.labels[1] == "alice"}
    assert books.tenant.slug in slugs
    tenants = await sync_to_async(lambda: set(Tenant.objects.values_list("slug", flat=True)))()
    assert slugs <= tenants


async def test_every_format_says_the_same(books: Books) -> None:
    report = await platform()
    total = report.totals.billed_cost_usd
    rows = rows_of(written(report, "csv"))
    assert sum(Decimal(row["billed_cost_usd"]) for row in rows) == total
    assert {row["tenant"] for row in rows} == {
        tenant.tenant_slug for tenant in report.tenants if tenant.detail
    }
    told: dict[str, Any] = json.loads(written(report, "json"))
    assert Decimal(told["totals"]["billed_cost_usd"]) == total
    assert len(told["margins"]) == len(report.margins)
    table = pq.read_table(io.BytesIO(written(report, "parquet")))
    assert sum(table["billed_cost_usd"].to_pylist()) == total
    book = openpyxl.load_workbook(io.BytesIO(written(report, "xlsx")), read_only=True)
    assert {"Margin", "By tenant"} <= set(book.sheetnames)
    focus = rows_of(written(report, "focus"))
    payable = sum(
        (one.invoice.payable if one.invoice else one.totals.billed_cost_usd) for one in report.tenants
    )
    assert sum(Decimal(row["BilledCost"]) for row in focus) == payable
    assert {row["BillingAccountId"] for row in focus} <= {one.tenant_slug for one in report.tenants}
    assert "Margin" in pages_of(written(report, "pdf"))


async def test_a_tenants_own_files_have_no_margin(books: Books) -> None:
    report = await sync_to_async(month_report)(books.tenant, month=MONTH)
    for name in ("csv", "json", "focus"):
        text = written(report, name).decode().lower()
        assert "margin" not in text
        assert "provider_cost" not in text
    assert (
        "Margin" not in openpyxl.load_workbook(io.BytesIO(written(report, "xlsx")), read_only=True).sheetnames
    )
    assert "Margin" not in pages_of(written(report, "pdf"))


async def test_a_month_that_nobody_had_is_empty(books: Books) -> None:
    def read() -> MonthReport:
        assert not BillingPeriod.objects.filter(label="1999-01").exists()
        return platform_report("1999-01")

    report = await sync_to_async(read)()
    assert (report.totals.billed_cost_usd, report.detail) == (0, ())
    for name in FORMATS:
        assert written(report, name) or name == "focus-parquet"


async def test_the_command_takes_all(books: Books, tmp_path: Path) -> None:
    said = io.StringIO()
    command = sync_to_async(call_command)
    await command("report", "--all", month=MONTH, format="csv", output=tmp_path, stdout=said)
    path = Path(said.getvalue().splitlines()[-1])
    assert path.name == f"platform-{MONTH}.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text(), newline="")))
    assert sum(Decimal(row["billed_cost_usd"]) for row in rows) == await sync_to_async(ledger)("billed_cost")
