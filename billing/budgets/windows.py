"""Which budgets apply to a call, and which of their windows it falls into.

Invariant: pure but for `load_budgets`, and no model is imported with it. A window is a day, ISO week or month
of the tenant's own time zone, so a day of a change of clocks has 23 or 25 hours; it depends on the moment of
the request alone, so yesterday's figure never counts today. Every budget that applies counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

from django.apps import apps

from billing.scopes import RUN, WHOLE_TENANT, Dimensions
from config.values import value_type

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
# Every zone's midnight lies on a quarter of an hour, so the moments of one quarter share their spans.
QUARTER_SECONDS = 900


@dataclass(frozen=True, slots=True)
class BudgetFacts:
    """A budget as the hot path sees it. The limit here is for messages only; admission reads it in PostgreSQL."""

    id: int
    scope: str
    value: str
    unit: str
    period: str
    limit_amount: Decimal
    mode: str
    alert_at: tuple[Decimal, ...]
    label: str
    shards: int = 1


@value_type
class WindowKey:
    """One counter: a budget, whose share of it, and the span of time. `ends_at` is None for a total."""

    budget: BudgetFacts
    subject: str
    starts_at: datetime
    ends_at: datetime | None


def windows_for(
    budgets: Iterable[BudgetFacts], dimensions: Dimensions, *, at: datetime, timezone: str
) -> tuple[WindowKey, ...]:
    """The windows a call falls into: each budget whose subject it is. A few microseconds."""
    windows = []
    for budget in budgets:
        is_whole = budget.scope in WHOLE_TENANT
        subject = "" if is_whole else getattr(dimensions, budget.scope)
        if not is_whole and (not subject or (budget.value and budget.value != subject)):
            continue
        starts_at, ends_at = span(budget.period, at=at, timezone=timezone)
        windows.append(WindowKey(budget, subject, starts_at, ends_at))
    return tuple(windows)


def span(period: str, *, at: datetime, timezone: str) -> tuple[datetime, datetime | None]:
    """The window of a period (day, week, month, total) that contains `at`, in UTC; its end is exclusive."""
    if period == "total":
        return BEGINNING, None
    return _span(period, int(at.timestamp()) // QUARTER_SECONDS, timezone)


def load_budgets(tenant_id: int) -> tuple[BudgetFacts, ...]:
    """Read a tenant's active budgets, and its prepaid balance: one query."""
    everything = apps.get_model("billing", "Budget").everything
    budgets = everything.filter(tenant_id=tenant_id, is_active=True).exclude(scope=RUN)
    return tuple(
        BudgetFacts(
            id=row.pk,
            scope=row.scope,
            value=row.value,
            unit=row.unit,
            period=row.period,
            limit_amount=row.limit_amount,
            mode=row.mode,
            alert_at=tuple(sorted(Decimal(str(share)) for share in row.alert_at)),
            label=str(row),
            shards=row.shards,
        )
        for row in budgets.order_by("pk")
    )


@lru_cache(maxsize=8192)
def _span(period: str, quarter: int, timezone: str) -> tuple[datetime, datetime]:
    zone = ZoneInfo(timezone)
    today = datetime.fromtimestamp(quarter * QUARTER_SECONDS, zone).date()
    if period == "day":
        first, after = today, today + timedelta(days=1)
    elif period == "week":
        first = today - timedelta(days=today.weekday())
        after = first + timedelta(days=7)
    elif period == "month":
        first = today.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    else:
        raise ValueError(f"unknown period {period!r}")
    return _midnight(first, zone), _midnight(after, zone)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a day. Where clocks skip midnight this is the moment they do."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
