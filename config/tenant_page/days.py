"""A tenant's figures from its small sums: of days (UTC) in all, by day, by what was done and by outcome; of months by who.

Invariant: reads sums along one dimension only, never the ledger, and always names the tenant.
"""

from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db.models import DecimalField, Max, Sum, Value
from django.db.models.functions import Coalesce
from django.utils.timezone import now

from billing.models import BillingPeriod, PeriodSum, UsageSum
from llm.models import RequestDay
from tenants.models import Tenant

_ZERO: Final = Value(Decimal(0), output_field=DecimalField(max_digits=28, decimal_places=12))


def total(rows: Any, name: str) -> Any:
    """The sum of a measure over groups."""
    start: Any = Decimal(0) if name in ("billed", "listed", "adjusted", "saved") else 0
    return sum((row[name] for row in rows), start=start)


def sums_of(tenant: Tenant, dimension: str | Sequence[str], first: date, last: date) -> Any:
    """The small sums of a tenant's days along one dimension, or some, both ends counted."""
    dimensions = [dimension] if isinstance(dimension, str) else dimension
    rows = UsageSum.objects.filter(tenant=tenant, dimension__in=dimensions, day__gte=first, day__lte=last)
    return rows.order_by()


def month_of(tenant: Tenant, column: str) -> Any:
    """The measures of the running month by every value of a column of the days' sums, the dearest first."""
    month = BillingPeriod.objects.filter(tenant=tenant, starts_at__lte=now(), ends_at__gt=now()).first()
    rows = PeriodSum.objects.filter(tenant=tenant, period_id=month.pk if month else 0, dimension=column)
    return (
        rows.exclude(records=0)
        .order_by("-billed_cost_usd", "-saved_usd", "value")
        .values("value", "last_day", "requests", "cache_hits", "billed_cost_usd", "saved_usd")
    )


def months_of(tenant: Tenant, column: str, since: date) -> Any:
    """The measures by every value of a column, over the tenant's months from the one that a day is in."""
    begins = datetime.combine(since, time(), ZoneInfo(tenant.timezone))
    months = BillingPeriod.objects.filter(tenant=tenant, ends_at__gt=begins).values("pk")
    rows = PeriodSum.objects.filter(tenant=tenant, period_id__in=months, dimension=column)
    return (
        rows.exclude(records=0)
        .order_by()
        .values("value")
        .annotate(asked=Sum("requests"), billed=Sum("billed_cost_usd"), latest=Max("last_day"))
    )


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
