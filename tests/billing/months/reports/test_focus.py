"""FOCUS files: the published validator accepts version 1.0, and rules of later versions are checked here.

The validator prints what it found and always exits with 0, so its words are what counts.
"""

import csv
import io
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command

from billing.ledger.corrections import adjust, credit
from billing.models import BillingDetails, BillingPeriod
from billing.months import closing
from billing.months.exports import formats_of
from billing.months.exports.focus import PROFILES
from billing.months.parts import MonthReport
from billing.months.report import month_report
from tests.billing.months.reports.conftest import Books
from tests.billing.months.reports.test_reports import november, rows_of

VALIDATOR = Path(sys.prefix) / "focus" / "bin" / "focus-validator"
# it asks 1.0 files for a column of another version here
OVERRIDES = "overrides:\n  - SkuPriceId_Nullable\n"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NUMBER = re.compile(r"-?\d+\.\d+")
JSON_COLUMNS = {"Tags", "SkuPriceDetails", "InvoiceDetailGrain", "x_CredentialDetails"}
NEVER_NULL = {
    *("BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart"),
    *("ChargeCategory", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost"),
    *("EffectiveCost", "InvoiceIssuerName", "ListCost", "ServiceCategory", "ServiceName", "HostProviderName"),
    *("ServiceProviderName", "ProviderName", "PublisherName", "PaymentTerms", "ReferenceInvoiceId"),
    *("InvoiceIssueStatus", "InvoiceDetailCreated", "InvoiceDetailLastUpdated", "PaymentCurrency"),
    *("BillingPeriodCreated", "BillingPeriodLastUpdated", "BillingPeriodStatus"),
}
ALLOWED = {
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {"", "Correction"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "PricingCategory": {"", "Standard", "Dynamic", "Committed", "Other"},
    "BillingPeriodStatus": {"Open", "Closed"},
    "InvoiceIssueStatus": {"Open", "Issued", "Voided"},
    "ServiceCategory": {"AI and Machine Learning"},
}


def files_of(report: MonthReport, profile: str, name: str = "focus") -> dict[str, bytes]:
    written = {}
    for kind in formats_of(name, profile=profile):
        out = io.BytesIO()
        kind.write(report, out)
        written[kind.suffix] = out.getvalue()
    return written


def charges_of(report: MonthReport, profile: str) -> list[dict[str, str]]:
    return rows_of(list(files_of(report, profile).values())[-1])


@pytest.fixture
async def closed(books: Books, monkeypatch: pytest.MonkeyPatch) -> MonthReport:
    """A closed month with usage, hits, an estimate, a credit, an adjustment, roundings and tax."""

    def close() -> MonthReport:
        BillingDetails.objects.create(
            tenant=books.tenant, tax="vat", vat_percent=Decimal("19"), po_number="PO-1", legal_name="=Books"
        )
        period = BillingPeriod.objects.get(tenant=books.tenant, label="2026-11")
        monkeypatch.setattr(closing, "now", lambda: period.ends_at + timedelta(days=3))
        closing.close_period(period, forced_reason="the test does not wait")
        return month_report(books.tenant, month="2026-11")

    return await sync_to_async(close)()


def validated(data: bytes, path: Path) -> str:
    if not VALIDATOR.exists():
        pytest.skip("the FOCUS validator is missing: make .venv/.installed-focus")
    path.write_bytes(data)
    overrides = path.with_name("overrides.yaml")
    overrides.write_text(OVERRIDES)
    (packages,) = VALIDATOR.parent.parent.glob(
        "lib/python3*/site-packages"
    )  # it reads files of its own from there
    run = subprocess.run(
        [VALIDATOR, "--data-file", path, "--validate-version", "1.0", "--override-file", overrides],
        capture_output=True, text=True, cwd=packages, timeout=300,
    )  # fmt: skip
    return run.stdout + run.stderr


@pytest.mark.parametrize(("name", "suffix"), [("focus", ".csv"), ("focus-parquet", ".parquet")])
async def test_it_works(closed: MonthReport, tmp_path: Path, name: str, suffix: str) -> None:
    (data,) = files_of(closed, "1.0", name).values()
    said = await sync_to_async(validated)(data, tmp_path / f"month{suffix}")
    assert "Validation succeeded." in said, said


async def test_the_validator_finds_what_is_wrong(closed: MonthReport, tmp_path: Path) -> None:
    (data,) = files_of(closed, "1.0").values()
    wrong = data.replace(b'"Usage-Based"', b'"Sometimes"')
    said = await sync_to_async(validated)(wrong, tmp_path / "month.csv")
    assert "Validation succeeded." not in said
    assert "ChargeFrequency" in said


@pytest.mark.parametrize("profile", PROFILES)
async def test_every_cell_is_as_the_specification_says(closed: MonthReport, profile: str) -> None:
    for suffix, data in files_of(closed, profile).items():
        rows = rows_of(data)
        assert rows, suffix
        for row in rows:
            for column, value in row.items():
                check_cell(column, value)


def check_cell(column: str, value: str) -> None:
    if column in NEVER_NULL:
        assert value, column
    if column in ALLOWED:
        assert value in ALLOWED[column], (column, value)
    if not value:
        return
    if column.endswith(("Date", "Created", "LastUpdated")) or column.startswith(
        ("BillingPeriodS", "BillingPeriodE", "ChargePeriod")
    ):
        assert MOMENT.fullmatch(value) or column == "BillingPeriodStatus", (column, value)
    if column.endswith(("Cost", "UnitPrice", "Quantity")):
        assert NUMBER.fullmatch(value), (column, value)
    if column in JSON_COLUMNS:
        assert isinstance(json.loads(value), dict)
    if column.endswith("Currency"):
        assert re.fullmatch("[A-Z]{3}", value)


@pytest.mark.parametrize("profile", PROFILES)
async def test_what_is_billed_makes_what_is_payable(closed: MonthReport, profile: str) -> None:
    rows = charges_of(closed, profile)
    assert closed.invoice is not None
    assert sum(Decimal(row["BilledCost"]) for row in rows) == closed.invoice.payable
    if profile != "1.0":
        assert {row["InvoiceId"] for row in rows} == {closed.invoice.code}
    for row in rows:
        if row["ListUnitPrice"]:
            product = Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"])
            assert abs(product - Decimal(row["ListCost"])) < Decimal("1e-9"), row


async def test_each_detail_of_the_invoice_is_made_of_its_charges(closed: MonthReport) -> None:
    periods, details, charges = map(rows_of, files_of(closed, "1.4").values())
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in charges:
        sums[row["InvoiceDetailId"]] += Decimal(row["BilledCost"])
    stated = {row["InvoiceDetailId"]: Decimal(row["BilledCost"]) for row in details}
    assert stated == {name: amount for name, amount in sums.items() if amount}
    assert len(stated) == len(details)
    assert [row["BillingPeriodStatus"] for row in periods] == ["Closed"]
    joined = {(row["BillingPeriodStart"], row["InvoiceIssuerName"]) for row in (*periods, *details, *charges)}
    assert len(joined) == 1
    assert {row["PurchaseOrderNumber"] for row in details} == {"PO-1"}
    assert {row["PaymentTerms"] for row in details} == {"Net 30"}


async def test_an_open_month_has_a_period_and_no_invoice(books: Books) -> None:
    report = await november(books)
    periods, details, charges = map(rows_of, files_of(report, "1.4").values())
    assert [row["BillingPeriodStatus"] for row in periods] == ["Open"]
    assert details == []
    assert {row["InvoiceId"] + row["InvoiceDetailId"] for row in charges} == {""}


@pytest.mark.parametrize("profile", PROFILES)
async def test_parquet_has_what_the_csv_has(closed: MonthReport, profile: str) -> None:
    texts = files_of(closed, profile).values()
    tables = files_of(closed, profile, "focus-parquet").values()
    for data, written in zip(texts, tables, strict=True):
        rows, table = rows_of(data), pq.read_table(io.BytesIO(written)).to_pylist()
        assert len(rows) == len(table)
        for row, typed in zip(rows, table, strict=True):
            assert set(row) - set(typed) <= {"x_ExactTexts"}
            for name, value in typed.items():
                assert same(row[name], value), (name, row[name], value)


def same(text: str, value: Any) -> bool:
    match value:
        case None:
            return text == ""
        case Decimal():
            return Decimal(text) == value
        case float():
            return float(text) == value
        case datetime():
            return datetime.fromisoformat(text) == value
        case str() if value.startswith("{"):
            return bool(json.loads(text) == json.loads(value))
        case _:
            return text.replace("'", "") == str(value).replace("'", "")


async def test_names_of_users_and_keys_are_unchanged_in_parquet(closed: MonthReport) -> None:
    (written,) = files_of(closed, "1.3", "focus-parquet").values()
    table = pq.read_table(io.BytesIO(written)).to_pylist()
    users = {line.labels["user"] or None for line in closed.detail}
    assert {row["x_ConsumerId"] for row in table} <= users | {None}
    keys = {
        json.loads(row["x_CredentialDetails"])["Credential"]["Name"]
        for row in table
        if row["x_CredentialDetails"]
    }
    assert keys == {line.labels["api_key"] for line in closed.detail if line.labels["api_key"]}


async def test_columns_that_a_version_took_out_are_gone(closed: MonthReport) -> None:
    header: Callable[[str], list[str]] = lambda profile: list(charges_of(closed, profile)[0])  # noqa: E731
    assert {"ProviderName", "PublisherName"} <= set(header("1.3"))
    assert not {"ProviderName", "PublisherName"} & set(header("1.4"))
    assert {"ServiceProviderName", "HostProviderName", "InvoiceDetailId"} <= set(header("1.4"))
    assert not {"InvoiceId", "PricingCurrency", "SkuMeter"} & set(header("1.0"))
    for profile in PROFILES:
        names = header(profile)
        assert len(names) == len(set(names))
        assert all(name.startswith("x_") for name in names[names.index("x_Certainty") :])


async def test_the_command_writes_each_data_set(closed: MonthReport, books: Books, tmp_path: Path) -> None:
    said = io.StringIO()
    await sync_to_async(call_command)(
        "report",
        tenant=books.tenant.slug,
        month="2026-11",
        format="focus",
        profile="1.4",
        output=tmp_path,
        stdout=said,
    )
    paths = [Path(line) for line in said.getvalue().splitlines()]
    assert [path.name.removeprefix(f"{books.tenant.slug}-2026-11") for path in paths] == [
        ".focus-1.4.billing-period.csv", ".focus-1.4.invoice-detail.csv", ".focus-1.4.csv",
    ]  # fmt: skip
    assert list(csv.DictReader(io.StringIO(paths[-1].read_text())))


async def test_entries_by_hand_are_no_usage(books: Books) -> None:
    def enter() -> MonthReport:
        booked = credit(books.tenant, amount_usd=Decimal("0.01"), reason="=goodwill")
        adjust(books.tenant, amount_usd=Decimal("0.02"), reason="a late fee")
        return month_report(books.tenant, month=booked.period.label)

    rows = charges_of(await sync_to_async(enter)(), "1.4")
    by_hand = [row for row in rows if row["ChargeCategory"] in ("Credit", "Adjustment")]
    assert by_hand
    for row in by_hand:
        assert row["ChargeFrequency"] == "One-Time"
        assert not row["SkuId"] + row["ConsumedQuantity"] + row["PricingQuantity"]
