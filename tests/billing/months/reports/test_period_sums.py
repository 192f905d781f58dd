"""The sums of periods along each dimension equal the ledger to the last digit, whatever comes late, goes, or is summed again."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from billing.ledger.corrections import credit
from billing.ledger.dimensions import DIMENSIONS
from billing.models import PeriodSum, RollupDirty, UsageDaily
from billing.months.overview import month_overview
from tests.billing.months.reports.test_rollups import rebuild_all
from tests.billing.shop import Shop

COLUMNS = tuple(one.column for one in DIMENSIONS if one.section)
OF_LEDGER = """
SELECT r.period_id, {value}, {provider}, count(*), sum(r.billed_cost), sum(r.contracted_cost), sum(r.input_tokens),
       sum(r.output_tokens), coalesce(sum(r.billed_cost) FILTER (WHERE r.kind = 'credit'), 0),
       coalesce(sum(r.billed_cost) FILTER (WHERE r.kind = 'correction'), 0),
       coalesce(sum(r.billed_cost) FILTER (WHERE r.missing_tags <> ''), 0),
       sum(r.saved_input_tokens + r.saved_output_tokens)
FROM billing_usagerecord AS r WHERE r.tenant_id = %s GROUP BY 1, 2, 3
"""
SAVINGS = """
SELECT r.period_id, step.key, sum(step.value::numeric) FROM billing_usagerecord AS r, jsonb_each_text(r.saving) AS step
WHERE r.tenant_id = %s AND r.kind = 'usage' GROUP BY 1, 2 HAVING sum(step.value::numeric) <> 0
"""
FIGURES = (
    "records", "billed_cost_usd", "contracted_cost_usd", "input_tokens", "output_tokens", "credits_usd", "corrections_usd",
    "unallocated_usd", "saved_tokens",
)  # fmt: skip


def asked(sql: str, shop: Shop) -> set[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, [shop.tenant.pk])
        return set(cursor.fetchall())


def of_ledger(shop: Shop, column: str) -> set[tuple[Any, ...]]:
    value = (
        "(r.occurred_at AT TIME ZONE 'UTC')::date::text"
        if column == "day"
        else f"coalesce(r.{column}::text, '')"
    )
    return asked(OF_LEDGER.format(value=value, provider="r.provider" if column == "model" else "''"), shop)


def of_sums(shop: Shop, column: str, *figures: str) -> set[tuple[Any, ...]]:
    rows = PeriodSum.objects.filter(tenant=shop.tenant, dimension=column)
    return set(rows.exclude(records=0).values_list("period_id", "value", "provider", *figures))


def agrees(shop: Shop) -> None:
    for column in (*COLUMNS, "day"):
        found = of_sums(shop, column, *FIGURES)
        assert found == of_ledger(shop, column), column
        assert found
    steps = PeriodSum.objects.filter(tenant=shop.tenant, dimension="saving").exclude(saved_usd=0)
    assert set(steps.values_list("period_id", "value", "saved_usd")) == asked(SAVINGS, shop)
    whole = PeriodSum.objects.filter(tenant=shop.tenant, dimension="certainty")
    assert sum(whole.values_list("billed_cost_usd", flat=True)) == sum(
        PeriodSum.objects.filter(tenant=shop.tenant, dimension="day").values_list(
            "billed_cost_usd", flat=True
        )
    )


@pytest.fixture
def month(shop: Shop, last_month: datetime) -> datetime:
    """A month with calls, hits and what was estimated, and its sums."""
    for number in range(6):
        shop.call(
            last_month + timedelta(days=number % 3), {"input": 100 + 7 * number, "output": 3 * number + 1}
        )
    rebuild_all()
    return last_month


def test_it_works(shop: Shop, month: datetime) -> None:
    agrees(shop)


def test_late_rows_and_corrections_and_credits_are_added(shop: Shop, month: datetime) -> None:
    shop.call(month, {"input": 12_345})
    rebuild_all()
    agrees(shop)
    shop.close(month)
    shop.call(month, {"input": 777})  # it is the next month's now
    credit(shop.tenant, amount_usd=Decimal("0.000000000123"), reason="goodwill")
    rebuild_all()
    agrees(shop)
    assert PeriodSum.objects.filter(tenant=shop.tenant, dimension="day", value=str(month.date())).count() == 2


def test_a_day_can_be_summed_again_and_again(shop: Shop, month: datetime) -> None:
    for _ in range(3):
        RollupDirty.objects.create(tenant=shop.tenant, day=month.date())
        rebuild_all()
        agrees(shop)


def test_what_goes_is_taken_away_and_comes_back(shop: Shop, month: datetime) -> None:
    days = UsageDaily.objects.filter(tenant=shop.tenant)
    label = f"{month:%Y-%m}"
    first = days.order_by("day").values_list("day", flat=True)[0]
    days.filter(day=first).delete()
    assert str(first) not in {value for _, value, _ in of_sums(shop, "day")}
    left = sum(days.values_list("billed_cost", flat=True))
    assert month_overview(shop.tenant, month=label).totals.billed_cost_usd == left > 0
    days.all().delete()
    overview = month_overview(shop.tenant, month=label)
    assert not any(section.groups for section in overview.sections)
    assert overview.totals.billed_cost_usd == 0
    for number in range(3):
        RollupDirty.objects.create(tenant=shop.tenant, day=(month + timedelta(days=number)).date())
    rebuild_all()
    agrees(shop)


def test_a_changed_day_changes_its_sums(shop: Shop, month: datetime) -> None:
    before = month_overview(shop.tenant, month=f"{month:%Y-%m}").totals
    days = UsageDaily.objects.filter(tenant=shop.tenant)
    more = Decimal("0.000000000001")
    days.update(billed_cost=F("billed_cost") + more, saved_cost=F("saved_cost") - more)
    after = month_overview(shop.tenant, month=f"{month:%Y-%m}").totals
    assert after.billed_cost_usd - before.billed_cost_usd == days.count() * more
    assert after.requests == before.requests


def test_another_tenant_has_none_of_it(shop: Shop, month: datetime) -> None:
    assert not PeriodSum.objects.exclude(tenant=shop.tenant).filter(
        period_id__in=UsageDaily.objects.filter(tenant=shop.tenant).values("period_id")
    )


def test_sums_are_of_the_day_that_was_summed_last(shop: Shop, month: datetime) -> None:
    newest = PeriodSum.objects.filter(tenant=shop.tenant, dimension="user_id").latest("last_day")
    days = UsageDaily.objects.filter(tenant=shop.tenant, user_id=newest.value)
    assert newest.last_day == max(days.values_list("day", flat=True))
    assert newest.refreshed_at <= datetime.now(UTC)
