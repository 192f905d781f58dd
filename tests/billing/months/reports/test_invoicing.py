"""A statement names its parties, its tax and its date, and keeps them."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, transaction

from billing.models import BillingDetails, BillingPeriod, Statement
from billing.months import closing
from billing.months.files import bytes_of
from billing.months.invoicing import tax_on
from billing.months.parts import Terms
from billing.months.report import month_report
from billing.months.statements import first_break
from tenants.models import Tenant
from tests.billing.months.reports.conftest import Books
from tests.billing.months.reports.test_formats import pages_of
from tests.billing.months.reports.test_reports import rows_of, written


async def closed(books: Books, monkeypatch: pytest.MonkeyPatch) -> Statement:
    def close() -> Statement:
        period = BillingPeriod.objects.get(tenant=books.tenant, label="2026-11")
        monkeypatch.setattr(closing, "now", lambda: period.ends_at + timedelta(days=3))
        return closing.close_period(period, forced_reason="the test does not wait")

    return await sync_to_async(close)()


def file_of(statement: Statement, format_name: str) -> bytes:
    return bytes_of(statement.files.get(format=format_name))


async def test_it_works(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    details = await BillingDetails.objects.acreate(
        tenant=books.tenant,
        legal_name="Books & Söhne GmbH",
        address="Teststraße 1\n10115 Berlin",
        vat_id="DE000000000",
        po_number="PO-4711",
        tax="vat",
        vat_percent=Decimal("19"),
        payment_days=14,
    )
    statement = await closed(books, monkeypatch)
    assert statement.tax == tax_on(statement.total, Terms("", vat_percent=Decimal(19)), currency="USD")
    assert statement.terms["legal_name"] == "Books & Söhne GmbH"
    assert statement.terms["due_on"] == "2026-12-18"
    text = pages_of(await sync_to_async(file_of)(statement, "pdf"))
    for told in (
        "Books & Söhne GmbH",
        "Teststraße 1",
        "VAT ID DE000000000",
        "PO-4711",
        "2026-12-18",
        "VAT 19",
    ):
        assert told in text
    assert f"{statement.total + statement.tax:.2f}" in text
    details.legal_name = "Another Ltd"
    await sync_to_async(details.save)()
    again = await sync_to_async(month_report)(books.tenant, month="2026-11")
    assert again.invoice is not None
    assert again.invoice.terms is not None
    assert again.invoice.terms.legal_name == "Books & Söhne GmbH"
    assert again.invoice.payable == statement.total + statement.tax
    assert await sync_to_async(first_break)(books.tenant) is None


async def test_the_tax_is_a_charge_of_the_invoice(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    await BillingDetails.objects.acreate(tenant=books.tenant, tax="vat", vat_percent=Decimal("7.5"))
    statement = await closed(books, monkeypatch)
    report = await sync_to_async(month_report)(books.tenant, month="2026-11")
    rows = rows_of(written(report, "focus"))
    taxes = [row for row in rows if row["ChargeCategory"] == "Tax"]
    assert [Decimal(row["BilledCost"]) for row in taxes] == [statement.tax]
    assert {row["InvoiceId"] for row in rows} == {statement.code}
    assert sum(Decimal(row["BilledCost"]) for row in rows) == statement.total + statement.tax
    told = json.loads(written(report, "json"))["invoice"]
    assert (Decimal(told["tax"]), Decimal(told["payable"])) == (
        statement.tax,
        statement.total + statement.tax,
    )


async def test_reverse_charge_asks_for_no_tax_and_says_why(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    await BillingDetails.objects.acreate(tenant=books.tenant, tax="reverse_charge", vat_id="FR00000000000")
    statement = await closed(books, monkeypatch)
    assert statement.tax == 0
    assert "Reverse charge" in pages_of(await sync_to_async(file_of)(statement, "pdf"))


async def test_a_changed_tax_breaks_the_chain(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    await BillingDetails.objects.acreate(tenant=books.tenant, tax="vat", vat_percent=Decimal("19"))
    statement = await closed(books, monkeypatch)
    statement.tax += 1
    assert closing.digest_of(statement) != statement.digest
    statement.tax -= 1
    assert closing.digest_of(statement) == statement.digest
    statement.terms["legal_name"] = "Someone else"
    assert closing.digest_of(statement) != statement.digest


@pytest.mark.parametrize(
    ("percent", "net", "currency", "tax"),
    [
        ("19", "0.10", "USD", "0.02"),
        ("19", "100.00", "USD", "19.00"),
        ("7.75", "1.00", "USD", "0.08"),
        ("10", "105", "JPY", "11"),
        ("19", "-5.00", "USD", "-0.95"),
        ("0", "5", "USD", "0"),
        ("0", "-5", "USD", "0"),
    ],
)
def test_tax_is_rounded_once(percent: str, net: str, currency: str, tax: str) -> None:
    terms = Terms("", vat_percent=Decimal(percent))
    found = tax_on(Decimal(net), terms, currency=currency)
    assert found == Decimal(tax)
    assert not (found == 0 and found.is_signed())


@pytest.mark.django_db
@pytest.mark.parametrize(("tax", "percent"), [("vat", 0), ("none", 19), ("reverse_charge", 19)])
def test_a_rate_goes_with_vat_only(tax: str, percent: int) -> None:
    tenant = Tenant.objects.create(slug="taxed", name="Taxed")
    with pytest.raises(IntegrityError), transaction.atomic():
        BillingDetails.objects.create(tenant=tenant, tax=tax, vat_percent=percent)
