"""Reconciliation beside the books of months: nothing that is closed moves, and every report still adds up."""

import io
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, connections, transaction

from billing.ledger.rollups import rebuild_dirty
from billing.models import BillingPeriod, CostComparison, PriceRow, UsageRecord
from billing.months.exports import FORMATS, export
from billing.months.report import month_report
from billing.months.statements import first_break
from billing.prices.editing import set_price
from billing.reconciliation.comparing import BilledAccount, book_adjustment, compare, store_report
from billing.reconciliation.line_items import LineItem
from billing.reconciliation.provider_reports import ProviderReport, ReportLine
from billing.rerating.proposals import approve_rerating, propose_rerating
from tests.billing.shop import INPUT, OUTPUT, Shop, month_ago, open_shop


@pytest.fixture
def shop(committed: None) -> Shop:
    """A tenant with a provider account that is only its own."""
    shop = open_shop()
    shop.provider = f"account-{secrets.token_hex(4)}"
    shop.price("input", INPUT)
    shop.price("output", OUTPUT)
    return shop


def take(shop: Shop, day: date, *lines: tuple[str, str, int | None]) -> list[CostComparison]:
    """Store what the provider says of a day, by meter, and compare."""
    told = tuple(
        ReportLine(
            day,
            f"gpt-4o, {meter}",
            LineItem("gpt-4o", meter),
            Decimal(usd),
            None if tokens is None else Decimal(tokens),
        )
        for meter, usd, tokens in lines
    )
    account = BilledAccount(provider=shop.provider, kind="openai", upstreams={shop.model: "gpt-4o"})
    store_report(account, ProviderReport(frozenset({day}), told), source="upload", content=b"x")
    return compare(shop.provider, first=day, last=day)


def test_it_works(shop: Shop, last_month: datetime) -> None:
    """A difference of a closed month is booked in the open one; the statement stays as it is."""
    for _ in range(10):
        shop.call(last_month, {"input": 10_000, "output": 5_000})
    statement = shop.close(last_month)
    files = {file.format: file.sha256 for file in statement.files.all()}
    rows = take(shop, last_month.date(), ("input", "0.30", 100_000), ("output", "0.5", 50_000))
    assert {row.meter: row.kind for row in rows} == {"input": "price", "output": "match"}
    (price,) = (row for row in rows if row.kind == "price")
    booked = book_adjustment(price, tenant=shop.tenant, reason="a rise we did not know", is_charged=True)
    row = UsageRecord.objects.get(pk=booked)
    assert (row.charge_class, row.billed_cost) == ("Correction", Decimal("0.05"))
    assert row.period.status == BillingPeriod.Status.OPEN
    assert row.occurred_at.date() == last_month.date()
    assert {file.format: file.sha256 for file in statement.files.all()} == files
    assert first_break(shop.tenant) is None
    assert compare(shop.provider, first=price.day, last=price.day)[0].kind == "match"


@pytest.mark.parametrize("is_charged", [True, False])
def test_reports_add_up_with_adjustments(shop: Shop, last_month: datetime, is_charged: bool) -> None:
    shop.call(last_month, {"input": 100_000, "output": 5_000})
    rows = take(shop, last_month.date(), ("input", "0.2", 80_000), ("output", "0.05", 5_000))
    (less,) = (row for row in rows if row.kind == "quantity")
    book_adjustment(less, tenant=shop.tenant, reason="they counted less", is_charged=is_charged)
    rebuild_dirty()
    report = month_report(shop.tenant, month=f"{last_month:%Y-%m}")
    assert report.totals.billed_cost_usd == (Decimal("0.25") if is_charged else Decimal("0.30"))
    for name in FORMATS:
        export(report, name, io.BytesIO())
    statement = shop.close(last_month)
    assert statement.exact_usd == report.totals.billed_cost_usd
    assert first_break(shop.tenant) is None


def test_eight_people_book_one_row(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month, {"input": 100_000})
    (row,) = take(shop, last_month.date(), ("input", "0.2", 80_000))

    def book(_: int) -> object:
        try:
            return book_adjustment(
                CostComparison.objects.get(pk=row.pk), tenant=shop.tenant, reason="they counted less"
            )
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        booked = set(pool.map(book, range(8)))
    adjustments = UsageRecord.objects.filter(provider=shop.provider, kind="adjustment")
    assert booked == {adjustments.get().pk}


def test_a_tenants_midnight_does_not_move_the_providers_day(committed: None) -> None:
    """The last UTC day of a month reaches into the next month of a tenant in the east."""
    shop = open_shop()
    shop.provider = f"account-{secrets.token_hex(4)}"
    shop.price("input", INPUT)
    shop.tenant.timezone = "Pacific/Auckland"
    shop.tenant.save()
    first = month_ago().replace(day=1, hour=0)
    late, early = first - timedelta(minutes=1), first
    shop.call(late, {"input": 100_000})
    shop.call(early, {"input": 200_000})
    rows = take(shop, late.date(), ("input", "0.25", 100_000))
    assert [row.kind for row in rows] == ["match"]
    rows = take(shop, early.date(), ("input", "0.5", 200_000))
    assert [row.kind for row in rows] == ["match"]


def test_a_correction_counts_on_the_day_of_its_call(shop: Shop, last_month: datetime) -> None:
    """A price that was corrected later on: the re-rated day is the provider's bill."""
    shop.call(last_month, {"input": 100_000})
    line = ("input", "0.3", 100_000)
    assert [row.kind for row in take(shop, last_month.date(), line)] == ["price"]
    row = PriceRow.objects.get(model=shop.model, meter="input", provider=shop.provider)
    set_price(row, unit_price=Decimal(3), valid_from=row.valid_from)
    approve_rerating(
        propose_rerating(
            starts_at=last_month - timedelta(days=1),
            ends_at=last_month + timedelta(days=1),
            reason="a late price",
            provider=shop.provider,
        )
    )
    (now_equal,) = compare(shop.provider, first=last_month.date(), last=last_month.date())
    assert (now_equal.kind, now_equal.status, now_equal.our_quantity) == ("match", "explained", 100_000)


def test_the_ledger_refuses_an_invoice_without_an_account(shop: Shop, last_month: datetime) -> None:
    with (
        pytest.raises(DatabaseError, match="usagerecord_of_invoice"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "SELECT billing_book_invoice_difference(gen_random_uuid(), %s, %s, 1, 0, '', '', 'x', '{}')",
            (shop.tenant.pk, last_month),
        )
