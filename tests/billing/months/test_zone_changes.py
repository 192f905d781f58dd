"""A month is reported and closed in its own time zone, whatever the tenant's is by then."""

import csv
import io
from datetime import UTC, date, datetime

import pytest

from billing.models import StatementFile
from billing.months.exports import export
from billing.months.files import bytes_of
from billing.months.report import MonthReport, month_report
from tests.billing.shop import Shop


@pytest.fixture
def traveller(shop: Shop) -> Shop:
    """A tenant that called in Auckland's October and November of 2025, and then moved to Los Angeles."""
    shop.tenant.timezone = "Pacific/Auckland"
    shop.tenant.save()
    shop.call(datetime(2025, 10, 15, 12, tzinfo=UTC))
    shop.call(datetime(2025, 11, 30, 10, tzinfo=UTC))
    shop.tenant.timezone = "America/Los_Angeles"
    shop.tenant.save()
    shop.call(datetime(2025, 12, 20, 12, tzinfo=UTC))
    shop.call(datetime(2025, 11, 30, 11, 30, tzinfo=UTC))
    return shop


def days(report: MonthReport) -> set[date]:
    return {line.day for line in report.detail}


def focus_rows(report: MonthReport) -> list[dict[str, str]]:
    buffer = io.BytesIO()
    export(report, "focus", buffer)
    return list(csv.DictReader(io.StringIO(buffer.getvalue().decode(), newline="")))


def test_it_works(traveller: Shop) -> None:
    november = month_report(traveller.tenant, month="2025-11")
    assert november.timezone == "Pacific/Auckland"
    assert days(november) == {date(2025, 11, 30)}
    december = month_report(traveller.tenant, month="2025-12")
    assert december.timezone == "America/Los_Angeles"
    assert december.starts_at == november.ends_at == datetime(2025, 11, 30, 11, tzinfo=UTC)
    assert december.totals.calls == 2


@pytest.mark.parametrize("month", ["2025-11", "2025-12"])
def test_every_charge_of_a_focus_file_lies_in_its_month(traveller: Shop, month: str) -> None:
    rows = focus_rows(month_report(traveller.tenant, month=month))
    assert rows
    for row in rows:
        assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"], row
        assert row["ChargePeriodEnd"] <= row["BillingPeriodEnd"], row


def test_a_statement_is_in_the_zone_of_its_month(traveller: Shop) -> None:
    zones = [traveller.close(datetime(2025, month, 15, tzinfo=UTC)).timezone for month in (10, 11, 12)]
    assert zones == ["Pacific/Auckland", "Pacific/Auckland", "America/Los_Angeles"]
    stored = StatementFile.objects.get(
        statement__period__label="2025-11", format="focus", statement__tenant=traveller.tenant
    )
    assert b"2025-11-30T11:00:00Z" in bytes_of(stored)


def test_a_correction_names_the_month_in_which_it_happened(traveller: Shop) -> None:
    for month in (10, 11):
        traveller.close(datetime(2025, month, 15, tzinfo=UTC))
    traveller.call(datetime(2025, 10, 31, 10, 30, tzinfo=UTC))  # the last half hour of October in Auckland
    # November there; October where the tenant is now
    traveller.call(datetime(2025, 10, 31, 11, 30, tzinfo=UTC))
    december = traveller.close(datetime(2025, 12, 15, tzinfo=UTC))
    corrected = {line.charge_month for line in december.lines.all() if line.charge_class == "Correction"}
    assert corrected == {"2025-10", "2025-11"}
