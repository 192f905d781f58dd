"""A tenant's figures from its days' sums (UTC): in all, by day, by who or what, and by outcome.

Invariant: reads the days' sums only, never the ledger, and always names the tenant.
"""

from datetime import date
from decimal import Decimal
from typing import Any, Final

from django.db.models import DecimalField, F, Max, Q, Sum, TextField, Value
from django.db.models.functions import Cast, Coalesce

from billing.models import UsageDaily, UsageRecord, UsageSum
from llm.models import RequestDay
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
    start: Any = Decimal(0) if name in ("billed", "listed", "adjusted", "saved") else 0
    return sum((row[name] for row in rows), start=start)


def sums_of(tenant: Tenant, dimension: str, first: date, last: date) -> Any:
    """The small sums of a tenant's days along one dimension, both ends counted."""
    rows = UsageSum.objects.filter(tenant=tenant, dimension=dimension, day__gte=first, day__lte=last)
    return rows.order_by()


COLUMNS: Final = {"user": "user_id", "key": "key_id"}


def values_of(tenant: Tenant, dimension: str, first: date, last: date) -> Any:
    """The measures by each `value` along a dimension. From the small sums, where they name every value; else from the days."""
    sums = sums_of(tenant, dimension, first, last)
    if not sums.filter(is_rest=True).exists():
        saving = F("listed") + F("adjusted") - F("billed")
        return summed(sums.values("value")).annotate(saved=saving, last_day=Max("day"))
    value = Coalesce(Cast(COLUMNS[dimension], TextField()), Value("", output_field=TextField()))
    return measured(days_of(tenant, first, last).annotate(value=value).values("value"))


def summed(groups: Any) -> Any:
    """Requests, hits among them, and money, of small sums in groups."""
    return groups.annotate(
        calls=Coalesce(Sum("requests"), 0),
        cached=Coalesce(Sum("hits"), 0),
        billed=Coalesce(Sum("billed_cost"), _ZERO),
        listed=Coalesce(Sum("list_cost"), _ZERO),
        adjusted=Coalesce(Sum("adjusted_cost"), _ZERO),
    )


def saved(row: Any) -> Decimal:
    """What a row of `summed` saved; entries by hand save nothing."""
    found: Decimal = row["listed"] + row["adjusted"] - row["billed"]
    return found


def unallocated(tenant: Tenant, first: date, last: date) -> dict[str, Any]:
    """Requests and money of calls that lack a required tag."""
    found: dict[str, Any] = (
        sums_of(tenant, "missing", first, last)
        .exclude(value="", is_rest=False)
        .aggregate(calls=Coalesce(Sum("requests"), 0), billed=Coalesce(Sum("billed_cost"), _ZERO))
    )
    return found


def outcomes(tenant: Tenant, first: date, last: date) -> dict[date, dict[str, int]]:
    """How a tenant's requests ended, by day: answered, cached, refused, failed."""
    rows = RequestDay.objects.filter(tenant=tenant, day__gte=first, day__lte=last).exclude(
        measure="first_token"
    )
    found: dict[date, dict[str, int]] = {}
    for row in rows.order_by().values("day", "measure").annotate(total=Sum("requests")):
        found.setdefault(row["day"], {})[row["measure"]] = row["total"]
    return found
