"""A tenant's figures from its days' sums (UTC): in all, by day, and by who or what.

Invariant: reads the days' sums only, never the ledger, and always names the tenant.
"""

from datetime import date
from decimal import Decimal
from typing import Any, Final

from django.db.models import DecimalField, Max, Q, Sum, Value
from django.db.models.functions import Coalesce

from billing.models import UsageDaily, UsageRecord
from tenants.models import Tenant

CACHED: Final = Q(usage_source=UsageRecord.Source.GATEWAY_CACHE)
_ZERO: Final = Value(Decimal(0), output_field=DecimalField(max_digits=28, decimal_places=12))


def days_of(tenant: Tenant, first: date, last: date) -> Any:
    """The sums of a tenant's days, both ends counted."""
    return UsageDaily.objects.filter(tenant=tenant, day__gte=first, day__lte=last).order_by()


def measured(groups: Any) -> Any:
    """Requests, hits among them, and money, of sums in groups."""
    return groups.annotate(
        calls=Coalesce(Sum("requests"), 0),
        cached=Coalesce(Sum("requests", filter=CACHED), 0),
        billed=Coalesce(Sum("billed_cost"), _ZERO),
        listed=Coalesce(Sum("list_cost"), _ZERO),
        saved=Coalesce(Sum("saved_cost"), _ZERO),
        last_day=Max("day"),
    )


def by(days: Any, column: str) -> dict[Any, dict[str, Any]]:
    """The measures by the values of a column."""
    return {row[column]: row for row in measured(days.values(column))}


def total(rows: Any, name: str) -> Any:
    """The sum of a measure over groups."""
    start: Any = Decimal(0) if name in ("billed", "listed", "saved") else 0
    return sum((row[name] for row in rows), start=start)
