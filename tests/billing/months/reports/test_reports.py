"""The month report adds up to the ledger to the last digit, whichever way it is cut and written."""

import csv
import io
from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest
from asgiref.sync import sync_to_async
from django.core.management import CommandError, call_command
from django.db import connection

from billing.models import BillingPeriod
from billing.months.exports import FORMATS, export, file_name
from billing.months.exports import workbook as workbooks
from billing.months.exports.focus import PROFILES
from billing.months.parts import Measures, MonthReport
from billing.months.report import (
    InvalidMonth,
    UnbalancedReport,
    check_balance,
    month_bounds,
    month_report,
)
from tenants.models import Tenant
from tests.billing.months.reports.conftest import Books


async def november(books: Books) -> MonthReport:
    return await sync_to_async(month_report)(books.tenant, month="2026-11")


def written(report: MonthReport, format_name: str) -> bytes:
    buffer = io.BytesIO()
    export(report, format_name, buffer)
    return buffer.getvalue()


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


async def ledger_of(books: Books, column: str = "billed_cost") -> Decimal:
    def read() -> Decimal:
        period = BillingPeriod.objects.get(tenant=books.tenant, label="2026-11")
        return books.ledger_sum(column, period_id=period.pk)

    return await sync_to_async(read)()


async def listed_of(books: Books) -> Decimal:
    """What the requests would have cost without us."""

    def read() -> Decimal:
        period = BillingPeriod.objects.get(tenant=books.tenant, label="2026-11")
        return books.ledger_sum("list_cost", period_id=period.pk, kind="usage")

    return await sync_to_async(read)()


async def test_it_works(books: Books) -> None:
    report = await november(books)
    billed = await ledger_of(books)
    assert billed > 0
    assert report.totals.billed_cost_usd == billed
    assert report.totals.list_cost_usd == await listed_of(books)
    assert report.totals.requests == 12 + 12 + 1 + 4 + 1
    assert report.totals.cache_hits == 4
    assert report.totals.estimated_requests == 1
    assert report.period_status == "open"
    assert {section.name for section in report.sections} == {
        "users", "keys", "features", "models", "cost_centers", "projects", "missing_tags", "tags", "days"
    }  # fmt: skip


async def test_every_section_adds_up_to_the_ledger(books: Books) -> None:
    report = await november(books)
    for section in report.sections:
        for field in fields(Measures):
            parts = sum(getattr(group.measures, field.name) for group in section.groups)
            assert parts == getattr(report.totals, field.name) * section.wholes, (section.name, field.name)
    users = next(section for section in report.sections if section.name == "users")
    assert {group.labels for group in users.groups} == {("alice", "Alice Ahrens"), ("bob", ""), ("", "")}


async def test_the_waterfall_leads_from_list_price_to_what_is_paid(books: Books) -> None:
    report = await november(books)
    first, *steps, last = report.waterfall
    assert (
        first.amount_usd - sum(step.amount_usd for step in steps) == last.amount_usd == await ledger_of(books)
    )
    named = {step.name: step.amount_usd for step in steps}
    assert named["gateway_cache"] == 4 * Decimal("0.012345678912")
    assert named["batch"] == Decimal("0.00975")
    assert named["routing"] > 0
    assert named["provider_cache"] > 0


async def test_cache_hits_count_no_tokens_twice(books: Books) -> None:
    report = await november(books)
    assert report.totals.saved_tokens == 4 * 150
    bought = await ledger_of(books, "input_tokens + cache_read_tokens + cache_write_tokens + output_tokens")
    totals = report.totals
    assert (
        totals.input_tokens + totals.cache_read_tokens + totals.cache_write_tokens + totals.output_tokens
        == bought
    )


async def test_a_day_belongs_to_the_tenants_month(books: Books) -> None:
    report = await november(books)
    days = next(section for section in report.sections if section.name == "days")
    assert next(group.labels[0] for group in days.groups) == "2026-11-01"
    assert "2026-12-01" not in {group.labels[0] for group in days.groups}
    december = await sync_to_async(month_report)(books.tenant, month="2026-12")
    assert december.totals.requests == 1
    assert (
        december.totals.billed_cost_usd + report.totals.billed_cost_usd
        == await sync_to_async(books.ledger_sum)()
    )


async def test_the_csv_adds_up_and_has_no_totals_row(books: Books) -> None:
    report = await november(books)
    rows = rows_of(written(report, "csv"))
    assert sum(Decimal(row["billed_cost_usd"]) for row in rows) == await ledger_of(books)
    assert sum(Decimal(row["list_cost_usd"]) for row in rows) == await listed_of(books)
    assert sum(Decimal(row["saved_usd"]) for row in rows) == report.totals.saved_usd
    assert sum(int(row["quantity"]) for row in rows if row["meter"] == "request") == report.totals.requests
    assert sum(int(row["requests"]) for row in rows) == report.totals.requests
    assert sum(int(row["calls"]) for row in rows) == report.totals.calls == 26
    assert (
        sum(int(row["quantity"]) for row in rows if row["meter"] == "output") == report.totals.output_tokens
    )
    assert {row["meter"] for row in rows} == {
        "request", "input", "cache_read", "cache_write_5m", "output", "credit"
    }  # fmt: skip


async def test_the_csv_is_rfc_4180_and_starts_no_formula(books: Books) -> None:
    data = written(await november(books), "csv")
    assert data.count(b"\r\n") == data.count(b"\n")
    assert "+side" not in {row["api_key"] for row in rows_of(data)}
    assert "'+side" in {row["api_key"] for row in rows_of(data)}
    assert any(row["billed_cost_usd"].startswith("-") for row in rows_of(data)), "a credit stays a number"


async def test_the_workbook_adds_up_in_exact_text_and_in_numbers(books: Books) -> None:
    report = await november(books)
    workbook = openpyxl.load_workbook(io.BytesIO(written(report, "xlsx")))
    assert workbook.sheetnames == [
        "Summary", "Savings", "Reconciliation", "By user", "By API key", "By feature", "By model", "By cost centre",
        "By project", "By missing tags", "By tag", "By day", "Detail",
    ]  # fmt: skip
    billed = await ledger_of(books)
    for name in workbook.sheetnames[3:]:
        sheet = workbook[name]
        header = [cell.value for cell in sheet[1]]
        exact, number = header.index("Billed cost USD (exact)"), header.index("Billed cost USD")
        body = list(sheet.iter_rows(min_row=2, values_only=True))
        if name != "Detail":
            *body, total = body
            assert (total[0], Decimal(total[exact])) == ("Total", billed)
        assert sum(Decimal(row[exact]) for row in body) == billed, name
        assert sum(row[number] for row in body) == pytest.approx(float(billed))
        assert sheet.freeze_panes == "A2"
        assert all(isinstance(row[number], int | float) for row in body)


async def test_a_detail_longer_than_a_sheet_goes_on_on_the_next(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = await november(books)
    monkeypatch.setattr(workbooks, "ROWS_OF_A_SHEET", 2)
    book = openpyxl.load_workbook(io.BytesIO(written(report, "xlsx")), read_only=True)
    sheets = [name for name in book.sheetnames if name.startswith("Detail")]
    assert len(sheets) == -(-len(report.detail) // 2) > 1
    assert sum(sum(1 for _ in book[name].rows) - 1 for name in sheets) == len(report.detail)


async def test_no_cell_of_the_workbook_is_a_formula(books: Books) -> None:
    workbook = openpyxl.load_workbook(io.BytesIO(written(await november(books), "xlsx")))
    cells = [cell for sheet in workbook for row in sheet.iter_rows() for cell in row]
    assert all(cell.data_type != "f" for cell in cells)
    assert any(cell.value == "+side" for cell in cells), "text stays as it is: it is typed as text"


async def test_the_focus_file_adds_up(books: Books) -> None:
    report = await november(books)
    rows = rows_of(written(report, "focus"))
    assert tuple(rows[0]) == PROFILES["1.2"][-1].columns
    assert sum(Decimal(row["BilledCost"]) for row in rows) == await ledger_of(books)
    assert sum(Decimal(row["x_Saving"]) for row in rows) == report.totals.saved_usd
    assert sum(int(row["x_Requests"]) for row in rows) == report.totals.requests
    saved_by_hits = sum(Decimal(row["x_Saving"]) for row in rows if row["x_UsageSource"] == "gateway_cache")
    assert saved_by_hits == 4 * Decimal("0.012345678912")


async def test_focus_rows_keep_its_rules(books: Books) -> None:
    rows = rows_of(written(await november(books), "focus"))
    for row in rows:
        assert row["ChargePeriodStart"] < row["ChargePeriodEnd"]
        assert row["BillingPeriodStart"] == "2026-10-31T23:00:00Z"
        assert row["BillingPeriodEnd"] == "2026-11-30T23:00:00Z"
        for name in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"):
            assert "." in row[name], "a column of whole numbers would be read as integers"
        if row["ChargeCategory"] == "Usage":
            product = Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"])
            assert abs(product - Decimal(row["ListCost"])) <= 30 * Decimal("1e-12")
            assert row["SkuPriceId"].startswith(row["SkuId"])
    credit = next(row for row in rows if row["ChargeCategory"] == "Credit")
    assert {credit[name] for name in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")} == {
        "-0.005"
    }
    assert {credit[name] for name in ("PricingQuantity", "PricingUnit", "SkuId", "ListUnitPrice")} == {""}
    hit = next(row for row in rows if row["x_UsageSource"] == "gateway_cache")
    assert (hit["ConsumedQuantity"], hit["BilledCost"], hit["ListCost"]) == ("0.0", "0.0", "0.0")
    assert {row["PublisherName"] for row in rows} >= {"OpenAI", "Anthropic"}
    assert rows[0]["BillingAccountName"].startswith("'=Books")


async def test_the_command_writes_what_the_function_does(books: Books, tmp_path: Path) -> None:
    report = await november(books)
    slug = books.tenant.slug
    for format_name in ("csv", "csv-bom", "focus"):
        said = io.StringIO()
        await sync_to_async(call_command)(
            "report", tenant=slug, month="2026-11", format=format_name, output=tmp_path / "new", stdout=said
        )
        path = Path(said.getvalue().splitlines()[-1])
        assert path == tmp_path / "new" / file_name(report, format_name)
        assert path.read_bytes() == written(report, format_name)


async def test_a_report_that_does_not_add_up_is_refused(books: Books) -> None:
    report = await november(books)
    wrong = replace(
        report,
        totals=replace(report.totals, billed_cost_usd=report.totals.billed_cost_usd + Decimal("1e-12")),
    )
    with pytest.raises(UnbalancedReport, match="billed_cost_usd"):
        check_balance(wrong)


@pytest.mark.django_db
def test_a_month_without_calls_is_an_empty_report() -> None:
    tenant = Tenant.objects.create(slug="idle", name="Idle", timezone="Asia/Kathmandu")
    report = month_report(tenant, month="2026-02")
    assert report.totals == Measures()
    assert report.starts_at == datetime(2026, 1, 31, 18, 15, tzinfo=UTC)
    for format_name in FORMATS:
        assert written(report, format_name)


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "november", "", "0000-01", "2026-11-01", "2026-00"])
def test_a_month_that_is_none_is_refused(month: str) -> None:
    with pytest.raises(InvalidMonth):
        month_bounds(month, "UTC")


@pytest.mark.django_db
def test_the_command_says_what_is_wrong() -> None:
    with pytest.raises(CommandError, match="no tenant is called 'nobody'"):
        call_command("report", tenant="nobody", month="2026-11")


@pytest.mark.django_db
def test_a_report_takes_a_fixed_number_of_queries(django_assert_max_num_queries) -> None:
    tenant = Tenant.objects.create(slug="counted", name="Counted")
    with django_assert_max_num_queries(45):
        month_report(tenant, month="2026-11")
    assert connection.vendor == "postgresql"
