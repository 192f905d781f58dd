"""Currencies of tenants: stored rates, and statements that say both amounts."""

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from billing.contracts.currencies import NoRate, import_rates, rate_on, set_rate
from billing.models import BillingDetails, BillingPeriod, CurrencyRate
from billing.months.closing import CannotClose
from billing.months.exports import export
from billing.months.exports.focus.rows import charges
from billing.months.files import bytes_of
from billing.months.report import opened_month
from billing.months.statements import first_break
from tests.billing.shop import Shop

pytestmark = pytest.mark.usefixtures("no_rates")
DAY = date(2026, 10, 30)


@pytest.fixture
def no_rates(committed: None) -> None:
    """Rates are everybody's: those of other tests are superseded."""
    CurrencyRate.objects.filter(superseded_at=None).update(superseded_at=datetime.now(UTC))


def bill_in(shop: Shop, currency: str) -> None:
    BillingDetails.objects.create(tenant=shop.tenant, currency=currency)


def last_day(at: datetime) -> date:
    return ((at.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)).date()


def store(
    rate: str, quote: str = "EUR", *, day: date = DAY, base: str = "USD", source: str = "ECB"
) -> CurrencyRate:
    return set_rate(day=day, base=base, quote=quote, rate=Decimal(rate), source=source)


def test_it_works(shop: Shop, last_month: datetime) -> None:
    bill_in(shop, "EUR")
    day = last_day(last_month)
    store("0.9213", day=day)
    for center in ("4711", "4712"):
        shop.call(last_month, {"input": 4_000_000}, cost_center=center)
    statement = shop.close(last_month)
    assert (statement.currency, statement.fx_rate, statement.fx_day, statement.fx_source) == (
        "EUR", Decimal("0.9213"), day, "ECB",
    )  # fmt: skip
    assert (statement.exact_usd, statement.total) == (Decimal(20), Decimal("18.43"))  # 18.426, once
    assert first_break(shop.tenant) is None
    (file,) = statement.files.filter(format="statement")
    rows = list(csv.DictReader(io.StringIO(bytes_of(file).decode())))
    assert {(row["currency"], Decimal(row["rate_for_one_usd"])) for row in rows} == {
        ("EUR", Decimal("0.9213"))
    }
    assert sum(Decimal(row["amount"]) for row in rows) == statement.total
    assert sum(Decimal(row["exact_usd"]) for row in rows) == 20


def test_the_focus_file_is_in_the_currency_of_the_invoice(shop: Shop, last_month: datetime) -> None:
    bill_in(shop, "EUR")
    store("0.333333333333", day=last_day(last_month))
    shop.call(last_month, {"input": 1_234_567, "output": 89})
    statement = shop.close(last_month)
    with opened_month(shop.tenant, month=f"{last_month:%Y-%m}") as report:
        export(report, "focus-parquet", io.BytesIO())  # which has a fixed number of places
        rows = list(charges(report))
    assert {row["BillingCurrency"] for row in rows} == {"EUR"}
    assert sum(row["BilledCost"] for row in rows) == statement.total
    usage = [row for row in rows if row["ChargeCategory"] == "Usage"]
    assert {row["PricingCurrency"] for row in usage} == {"USD"}
    assert sum(row["PricingCurrencyEffectiveCost"] for row in usage) == statement.exact_usd
    for row in usage:
        assert abs(row["ListUnitPrice"] * row["PricingQuantity"] - row["ListCost"]) <= Decimal("1e-12")


@pytest.mark.parametrize(
    ("currency", "rate", "total"),
    [("JPY", "152.37", "3047"), ("KWD", "0.30655", "6.131"), ("USD", "", "20.00")],
)
def test_minor_units_are_those_of_the_currency(
    shop: Shop, last_month: datetime, currency: str, rate: str, total: str
) -> None:
    bill_in(shop, currency)
    if rate:
        store(rate, currency, day=last_day(last_month))
    shop.call(last_month, {"input": 8_000_000})
    statement = shop.close(last_month)
    assert statement.total == Decimal(total)
    assert sum(statement.lines.values_list("amount", flat=True)) == statement.total


def test_without_a_rate_a_month_stays_open_and_says_why(shop: Shop, last_month: datetime) -> None:
    bill_in(shop, "EUR")
    store("0.9", day=last_day(last_month) - timedelta(days=8))
    shop.call(last_month)
    with pytest.raises(CannotClose, match="no rate from USD to EUR is stored"):
        shop.close(last_month)
    assert BillingPeriod.objects.get(pk=shop.period(last_month).pk).status == "open"
    store("0.92", day=last_day(last_month) - timedelta(days=2))  # a Friday's counts on Sunday
    assert shop.close(last_month).fx_rate == Decimal("0.92")


def test_a_statement_keeps_its_rate(shop: Shop, last_month: datetime) -> None:
    bill_in(shop, "EUR")
    day = last_day(last_month)
    store("0.9", day=day)
    shop.call(last_month)
    statement = shop.close(last_month)
    store("0.5", day=day)
    statement.refresh_from_db()
    assert statement.fx_rate == Decimal("0.9")
    assert rate_on(day, currency="EUR").rate == Decimal("0.5")
    assert first_break(shop.tenant) is None


def test_rates_are_found_the_other_way_round_and_through_a_third_currency() -> None:
    store("1.25", "USD", base="EUR")
    assert rate_on(DAY, currency="EUR").rate == Decimal("0.8")
    store("0.85", "GBP", base="EUR")
    found = rate_on(DAY, currency="GBP")
    assert (found.rate, found.source) == (Decimal("0.68"), "ECB, through EUR")
    with pytest.raises(NoRate):
        rate_on(DAY, currency="JPY")


def test_a_rate_is_superseded_and_never_edited() -> None:
    first = store("0.9")
    assert store("0.9").pk == first.pk
    second = store("0.91")
    first.refresh_from_db()
    assert first.superseded_at is not None
    assert rate_on(DAY, currency="EUR").rate == second.rate
    with pytest.raises(IntegrityError, match="immutable"), transaction.atomic():
        CurrencyRate.objects.filter(pk=second.pk).update(rate=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        CurrencyRate.objects.create(day=DAY, base="USD", quote="EUR", rate=1, source="twice")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2026-10-30,USD,EUR,zero,ECB", "line 3 is no rate"),
        ("2026-10-30,USD,EUR,NaN,ECB", "line 3 is no rate"),
        ("2026-10-30,USD,EUR,-1,ECB", "line 3: more than 0"),
        ("2026-10-30,USD,XAU,1,ECB", "line 3: XAU is no currency"),
        ("2026-10-30,USD,USD,1,ECB", "line 3: more than 0"),
        ("soon,USD,EUR,1,ECB", "line 3 is no rate"),
        ("2026-10-30,USD", "line 3 is no rate"),
    ],
)
def test_a_file_of_rates_is_stored_whole_or_not_at_all(line: str, said: str) -> None:
    good = "date,base,quote,rate,source\n2026-10-30,USD,CHF,0.88,SNB\n"
    with pytest.raises(ValidationError, match=said):
        import_rates(good + line)
    assert not CurrencyRate.objects.filter(superseded_at=None).exists()
    assert [str(rate) for rate in import_rates(good)] == ["1 USD = 0.88 CHF on 2026-10-30 (SNB)"]
    with pytest.raises(ValidationError, match="the first line"):
        import_rates(line)


def test_the_command_imports_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rates.csv"
    text = "date,base,quote,rate,source\n2026-10-30,EUR,USD,1.0854,ECB\n"
    file.write_text(text, encoding="utf-8-sig")  # as spreadsheets write it
    call_command("import_rates", str(file))
    assert CurrencyRate.objects.filter(day=DAY, base="EUR", superseded_at=None).exists()
    with pytest.raises(CommandError):
        call_command("import_rates", f"{file}.none")


def test_currencies_stand_in_the_configuration_file(shop: Shop) -> None:
    from llm.configuration import ConfigurationError, apply_configuration

    text = f"""
currency_rates:
  - {{day: 2026-10-30, quote: EUR, rate: "0.9213", source: ECB}}
tenants:
  - slug: {shop.tenant.slug}
    currency: EUR
"""
    for expected in ("created", "unchanged"):
        changes = apply_configuration(text, source="file.yaml", environ={})
        kinds = ("currency", "currency rate")
        assert {change.action for change in changes.changes if change.kind in kinds} == {expected}
    assert BillingDetails.objects.get(tenant=shop.tenant).currency == "EUR"
    with pytest.raises(ConfigurationError, match=r"file\.yaml:6"):
        apply_configuration(text.replace("currency: EUR", "currency: ZZZ"), source="file.yaml", environ={})
