"""What was spent, from the days' sums: by a person, or by everybody of a tenant.

Invariant: only metered prices (`billed_cost`, `list_cost`); what a provider is paid is never read here. Every query names its
tenant, and reads days' sums, never the ledger.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import F, Max, Q, QuerySet, Sum
from django.utils.timezone import now

from billing.models import UsageDaily
from config.portal.access import Visitor

ZERO = Decimal(0)


@dataclass(frozen=True)
class Spent:
    """Sums of a span of days (UTC)."""

    cost_usd: Decimal = ZERO
    saved_usd: Decimal = ZERO
    requests: int = 0
    tokens: int = 0


def days_of(visitor: Visitor) -> QuerySet[UsageDaily]:
    """The days' sums that the visitor may see: everybody's for owners and finance, else her own."""
    days = UsageDaily.objects.filter(tenant=visitor.tenant)
    if visitor.reads_all:
        return days
    return days.filter(user_id=visitor.person) if visitor.person else days.none()


def own_days_of(visitor: Visitor) -> QuerySet[UsageDaily]:
    """The days' sums of the visitor herself, whatever her role."""
    days = UsageDaily.objects.filter(tenant=visitor.tenant)
    return days.filter(user_id=visitor.person) if visitor.person else days.none()


def today_and_month(days: QuerySet[UsageDaily]) -> tuple[Spent, Spent, datetime | None]:
    """What today and this month (UTC) came to, and when it was last summed: one query."""
    today = now().astimezone(UTC).date()
    row = days.filter(day__gte=today.replace(day=1)).aggregate(
        **_sums("today_", Q(day=today)), **_sums("month_", Q()), summed_at=Max("refreshed_at")
    )
    return _spent(row, "today_"), _spent(row, "month_"), row["summed_at"]


def last_days(days: QuerySet[UsageDaily], *, count: int = 30) -> list[tuple[date, Decimal]]:
    """Each of the last days with its cost, oldest first; one query."""
    today = now().astimezone(UTC).date()
    first = today - timedelta(days=count - 1)
    costs = dict(days.filter(day__gte=first).order_by().values_list("day").annotate(cost=Sum("billed_cost")))
    every = (first + timedelta(days=number) for number in range(count))
    return [(day, costs.get(day, ZERO)) for day in every]


def _sums(prefix: str, condition: Q) -> dict[str, Any]:
    tokens = F("input_tokens") + F("cache_read_tokens") + F("cache_write_tokens") + F("output_tokens")
    measures = {
        "cost_usd": F("billed_cost"),
        "saved_usd": F("saved_cost"),
        "requests": F("requests"),
        "tokens": tokens,
    }
    return {f"{prefix}{name}": Sum(what, filter=condition or None) for name, what in measures.items()}


def _spent(row: dict[str, Any], prefix: str) -> Spent:
    return Spent(
        cost_usd=row[f"{prefix}cost_usd"] or ZERO,
        saved_usd=row[f"{prefix}saved_usd"] or ZERO,
        requests=row[f"{prefix}requests"] or 0,
        tokens=row[f"{prefix}tokens"] or 0,
    )
