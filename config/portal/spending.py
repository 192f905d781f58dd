"""What was spent, day by day (UTC): by a person, or by everybody of a tenant.

Invariant: only metered prices (`billed_cost`, `list_cost`); what a provider is paid is never read here. Every query names its
tenant, and reads sums: of everybody those of whole days, of a person her own by an index, never the ledger.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db.models import F, Max, Sum
from django.utils.timezone import now

from billing.models import BillingPeriod, PeriodSum, UsageDaily
from config.portal.access import Visitor

ZERO: Final = Decimal(0)
DAYS_SHOWN: Final = 30
_TOKENS: Final = F("input_tokens") + F("cache_read_tokens") + F("cache_write_tokens") + F("output_tokens")


@dataclass(frozen=True, slots=True)
class Spent:
    """Sums of a day, or of some."""

    cost_usd: Decimal = ZERO
    saved_usd: Decimal = ZERO
    requests: int = 0
    tokens: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.cost_usd + other.cost_usd,
            self.saved_usd + other.saved_usd,
            self.requests + other.requests,
            self.tokens + other.tokens,
        )


@dataclass(frozen=True, slots=True)
class Days:
    """This month's and the last thirty days, and when they were last summed."""

    by_day: dict[date, Spent]
    today: date
    summed_at: datetime | None

    def of_today(self) -> Spent:
        return self.by_day.get(self.today, Spent())

    def of_month(self) -> Spent:
        """This month (UTC) so far."""
        first = self.today.replace(day=1)
        return sum((spent for day, spent in self.by_day.items() if day >= first), start=Spent())

    def last(self) -> list[tuple[date, Decimal]]:
        """Each of the last thirty days with its cost, oldest first."""
        every = (self.today - timedelta(days=back) for back in reversed(range(DAYS_SHOWN)))
        return [(day, self.by_day.get(day, Spent()).cost_usd) for day in every]


def days_of(visitor: Visitor) -> Days:
    """The days that the visitor may see: everybody's for owners and finance, else her own. One query."""
    today = now().astimezone(UTC).date()
    first = min(today.replace(day=1), today - timedelta(days=DAYS_SHOWN - 1))
    if visitor.reads_all:
        rows = _of_all(visitor, first)
    elif visitor.person:
        rows = _of_person(visitor, first)
    else:
        rows = []
    by_day = {
        date.fromisoformat(str(row["name"])): Spent(row["cost"], row["saved"], row["asked"], row["used"])
        for row in rows
    }
    return Days(by_day, today, max((row["summed_at"] for row in rows), default=None))


def _of_all(visitor: Visitor, first: date) -> list[dict[str, Any]]:
    begins = datetime.combine(first, time(), UTC)
    months = BillingPeriod.objects.filter(tenant=visitor.tenant, ends_at__gt=begins)
    days = PeriodSum.objects.filter(
        tenant=visitor.tenant, period_id__in=months.values("pk"), dimension="day", value__gte=str(first)
    )
    return _summed(days.values(name=F("value")), cost="billed_cost_usd", saved="saved_usd")


def _of_person(visitor: Visitor, first: date) -> list[dict[str, Any]]:
    days = UsageDaily.objects.filter(tenant=visitor.tenant, user_id=visitor.person, day__gte=first)
    return _summed(days.values(name=F("day")), cost="billed_cost", saved="saved_cost")


def _summed(days: Any, *, cost: str, saved: str) -> list[dict[str, Any]]:
    return list(
        days.order_by().annotate(
            cost=Sum(cost),
            saved=Sum(saved),
            asked=Sum("requests"),
            used=Sum(_TOKENS),
            summed_at=Max("refreshed_at"),
        )
    )
