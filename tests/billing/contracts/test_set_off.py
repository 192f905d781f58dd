"""What was paid ahead is set off where it is owed; and months in other currencies than USD in every file."""

import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

import openpyxl
import orjson
import pytest
from django.utils.timezone import now

from billing.admin.months.reports import tables_of
from billing.contracts import prepaid
from billing.contracts.entries import propose_entry
from billing.journal.entries import journal_of
from billing.ledger.rollups import rebuild_dirty
from billing.models import BillingDetails, BillingPeriod, BudgetWindow, GlAccount
from billing.months.exports import export
from billing.months.exports.focus.rows import charges
from billing.months.overview import month_overview
from billing.months.platform import opened_platform
from billing.months.report import opened_month
from billing.months.statements import first_break
from tests.billing.contracts.test_currencies import bill_in, last_day, no_rates, store
from tests.billing.months.reports.test_formats import pages_of
from tests.billing.shop import Shop, open_shop

__all__ = ["no_rates"]
pytestmark = pytest.mark.usefixtures("no_rates")


@pytest.fixture
def accounts(shop: Shop) -> Iterator[None]:
    codes = {"receivable": "1400", "revenue": "8400", "tax": "1776", "accrual": "1410", "prepaid": "1710"}
    for kind, code in codes.items():
        GlAccount.objects.create(kind=kind, code=code, tenant=shop.tenant)
    yield
    GlAccount.objects.filter(tenant=shop.tenant).delete()


def paid_ahead(shop: Shop, usd: str = "100") -> tuple[int, ...]:
    """A balance; the windows of calls that are paid from it."""
    balance = prepaid.open_balance(shop.tenant)
    prepaid.add(balance, amount_usd=Decimal(usd), reason="invoice 1")
    return tuple(BudgetWindow.objects.filter(budget=balance.pk).values_list("pk", flat=True))


def files_of(shop: Shop, at: datetime) -> dict[str, bytes]:
    made = {}
    with opened_month(shop.tenant, month=f"{at:%Y-%m}") as report:
        for name in ("pdf", "xlsx", "json"):
            out = io.BytesIO()
            export(report, name, out)
            made[name] = out.getvalue()
    return made


def reconciled(xlsx: bytes) -> dict[str, Decimal]:
    sheet = openpyxl.load_workbook(io.BytesIO(xlsx))["Reconciliation"]
    return {
        str(row[0]): Decimal(str(row[2])) for row in sheet.iter_rows(min_row=2, values_only=True) if row[0]
    }


@pytest.mark.usefixtures("accounts")
def test_it_works(shop: Shop, last_month: datetime) -> None:
    """Only the calls that the balance has paid for are set off, from what is owed without tax; the journal balances."""
    BillingDetails.objects.create(tenant=shop.tenant, tax="vat", vat_percent=Decimal(19))
    shop.call(last_month, {"input": 2_000_000})  # before there was a balance
    windows = paid_ahead(shop)
    for center in ("4711", "4712"):
        shop.call(last_month, {"input": 1_600_000}, cost_center=center, windows=windows)
    shop.call(now(), {"input": 800_000}, windows=windows)  # in another month
    statement = shop.close(last_month)
    assert (statement.total, statement.tax) == (Decimal(13), Decimal("2.47"))
    assert statement.terms["set_off"] == "8.00"
    assert first_break(shop.tenant) is None
    balances: dict[str, Decimal] = {}
    for line in journal_of(shop.tenant, month=f"{last_month:%Y-%m}"):
        balances[line.account] = balances.get(line.account, Decimal(0)) + line.debit - line.credit
    assert balances == {
        "1400": Decimal("7.47"), "8400": Decimal(-13), "1776": Decimal("-2.47"), "1710": Decimal(8),
    }  # fmt: skip
    files = files_of(shop, last_month)
    text = pages_of(files["pdf"])
    assert "Paid ahead" in text
    assert "7.47" in text
    invoice = orjson.loads(files["json"])["invoice"]
    assert [Decimal(invoice[name]) for name in ("payable", "set_off", "due")] == [
        Decimal("15.47"), Decimal(8), Decimal("7.47"),
    ]  # fmt: skip
    found = reconciled(files["xlsx"])
    assert found["Paid ahead USD"] == 8
    accrued = journal_of(shop.tenant, month=f"{now():%Y-%m}")
    assert sum((line.debit - line.credit for line in accrued), Decimal(0)) == 0
    assert {line.account for line in accrued} == {"8400", "1410", "1710"}


def test_no_more_is_set_off_than_is_owed(shop: Shop, last_month: datetime) -> None:
    windows = paid_ahead(shop)
    shop.call(last_month, {"input": 4_000_000}, windows=windows)
    propose_entry(
        shop.tenant, kind="credit", amount_usd=Decimal(7), reason="an outage", month=f"{last_month:%Y-%m}"
    )
    statement = shop.close(last_month)
    assert (statement.total, statement.terms["set_off"]) == (Decimal(3), "3.00")


def test_who_pays_afterwards_has_nothing_set_off(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    assert "set_off" not in shop.close(last_month).terms


@pytest.mark.usefixtures("accounts")
def test_it_is_set_off_in_the_currency_of_the_statement(shop: Shop, last_month: datetime) -> None:
    bill_in(shop, "JPY")
    store("152.37", "JPY", day=last_day(last_month))
    shop.call(last_month, {"input": 4_000_000}, windows=paid_ahead(shop))
    shop.call(last_month, {"input": 400_000})
    statement = shop.close(last_month)
    assert (statement.total, statement.terms["set_off"]) == (Decimal(1676), "1524")
    files = files_of(shop, last_month)
    text = pages_of(files["pdf"])
    for said in ("1,676", "JPY", "Rate", "152.37", "In USD, exactly", "11.00 USD", "152"):
        assert said.replace(",", "") in text.replace(",", ""), said
    found = reconciled(files["xlsx"])
    assert found["Rate jpy for one USD"] == Decimal("152.37")
    assert found["Booked jpy"] == Decimal("1676.07")
    assert (found["Payable jpy"], found["Due jpy"]) == (1676, 152)
    lines = journal_of(shop.tenant, month=f"{last_month:%Y-%m}")
    assert sum((line.debit - line.credit for line in lines), Decimal(0)) == 0


def test_an_open_month_shows_both_amounts(shop: Shop) -> None:
    bill_in(shop, "EUR")
    at = now()
    shop.call(at, {"input": 4_000_000})
    month = shop.period(at).label

    store("0.5", day=at.date() - timedelta(days=1))
    while rebuild_dirty():
        pass
    cards = tables_of(month_overview(shop.tenant, month=month))["cards"]
    assert "10 USD exactly; 5.00 EUR at the rate of" in cards[0]["note"]
    files = files_of(shop, at)
    assert "10.00 USD, 5.00 EUR at 0.50 of" in " ".join(pages_of(files["pdf"]).split())
    assert reconciled(files["xlsx"])["Booked eur"] == 5
    assert orjson.loads(files["json"])["rate"]["currency"] == "EUR"


def test_without_a_rate_an_open_month_says_usd_alone(shop: Shop) -> None:
    bill_in(shop, "EUR")
    at = now()
    shop.call(at)
    overview = month_overview(shop.tenant, month=shop.period(at).label)
    assert overview.rate is None
    assert orjson.loads(files_of(shop, at)["json"])["rate"] is None


def test_all_tenants_in_one_focus_file_keep_their_currencies(shop: Shop, last_month: datetime) -> None:
    """Amounts of different currencies are in rows of their own; in USD, which all rows of usage have, they make the month."""
    others = [open_shop() for _ in range(2)]
    for one, currency, rate in zip(
        (shop, *others), ("EUR", "JPY", "USD"), ("0.9213", "152.37", ""), strict=True
    ):
        if rate:
            bill_in(one, currency)
            store(rate, currency, day=last_day(last_month))
        one.call(last_month, {"input": 4_000_000})
        one.close(last_month)
    ours = {one.tenant.slug: one for one in (shop, *others)}
    with opened_platform(f"{last_month:%Y-%m}") as report:
        out = io.BytesIO()
        export(report, "focus-parquet", out)
        reports = [one for one in report.tenants if one.tenant_slug in ours]
        rows = [row for one in reports for row in charges(one)]
    by_currency: dict[str, Decimal] = {}
    for row in rows:
        by_currency[row["BillingCurrency"]] = (
            by_currency.get(row["BillingCurrency"], Decimal(0)) + row["BilledCost"]
        )
    assert by_currency == {"EUR": Decimal("9.21"), "JPY": Decimal(1524), "USD": Decimal(10)}
    for slug in ours:
        currencies = {row["BillingCurrency"] for row in rows if row["BillingAccountId"] == slug}
        assert len(currencies) == 1
    usage = [row for row in rows if row["ChargeCategory"] == "Usage"]
    assert {row["PricingCurrency"] for row in usage} == {"USD"}
    assert sum(row["PricingCurrencyEffectiveCost"] for row in usage) == 30
    assert (
        BillingPeriod.objects.filter(
            tenant__slug__in=ours, label=f"{last_month:%Y-%m}", status="closed"
        ).count()
        == 3
    )
