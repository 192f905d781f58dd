"""Days' sums of a tenant, as the rollups write them, and budgets' windows."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from billing.models import Budget, BudgetWindow, UsageDaily
from tenants.models import Tenant
from tests.billing.sums import sum_days

# A Tuesday, noon: 48.3 % of the month is over.
AT = datetime(2026, 9, 15, 12, tzinfo=UTC)
TODAY = AT.date()


def spend(tenant: Tenant, usd: Iterable[float], *, until: date = TODAY, **dimensions: Any) -> None:
    """A row for each day up to the day before `until`, the last value for the last day."""
    amounts = list(usd)
    first = until - timedelta(days=len(amounts))
    UsageDaily.objects.bulk_create(
        UsageDaily(
            tenant=tenant,
            day=first + timedelta(days=number),
            billed_cost=Decimal(str(amount)),
            list_cost=Decimal(str(amount)),
            requests=round(amount),
            input_tokens=round(amount * 1000),
            **dimensions,
        )
        for number, amount in enumerate(amounts)
        if amount
    )
    sum_days(tenant)


def window(
    tenant: Tenant,
    *,
    limit: Any,
    spent: Any,
    starts_at: datetime,
    ends_at: datetime | None,
    scope: str = "tenant",
    subject: str = "",
    unit: str = "usd",
    period: str = "month",
) -> BudgetWindow:
    budget = Budget.objects.create(
        tenant=tenant, scope=scope, value=subject, unit=unit, period=period, limit_amount=Decimal(limit)
    )
    return BudgetWindow.objects.create(
        budget=budget, tenant=tenant, subject=subject, unit=unit, spent=Decimal(spent),
        starts_at=starts_at, ends_at=ends_at,
    )  # fmt: skip
