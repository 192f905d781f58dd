"""What tenants and budgets' windows will have used when their time is over, with an interval in which nine of ten results lie.

Invariant: what is spent is exact and comes first; only the rest of the time is forecast, from whole days (UTC) that are over. A
subject that is known for less than two weeks has no forecast, and says so. Reads only; a few statements for any number of
subjects.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from typing import Final

import numpy as np
from django.db import connection
from django.utils.timezone import now

from billing.planning import histories
from billing.planning.histories import Histories
from billing.planning.intervals import Paths, paths
from billing.planning.patterns import Calendar, Floats
from billing.planning.patterns import factors as usual_factors

LEAST_DAYS: Final = 14
# A total has no end: it is looked at for as long as a forecast says something.
MOST_DAYS_AHEAD: Final = 92
WINDOWS_AT_ONE_TIME: Final = 500
ONE_DAY: Final = timedelta(days=1)
_PLACES: Final = {"usd": Decimal("0.000001")}


@dataclass(frozen=True, slots=True)
class Day:
    """All that will be used by the end of a day, from the beginning of the time."""

    day: date
    low: Decimal
    middle: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Forecast:
    """The total at `ends_at`: `low`, `middle` and `high` are its 5th, 50th and 95th percentile.

    Look at `is_known` first: where too little is known they are what is spent so far. `usual_percent` is the share of the total
    that is usually gone by now, `time_percent` the share of the time.
    """

    spent: Decimal
    low: Decimal
    middle: Decimal
    high: Decimal
    starts_at: datetime
    ends_at: datetime
    history_days: int
    is_known: bool
    time_percent: Decimal
    usual_percent: Decimal
    days: tuple[Day, ...] = field(default=(), repr=False)

    @property
    def note(self) -> str:
        """How far it is to be trusted, in words."""
        if self.is_known:
            return f"90 % interval, from {self.history_days} days"
        return f"too little history for a forecast: {self.history_days} of {LEAST_DAYS} days"


@dataclass(frozen=True, slots=True)
class Window:
    """A budget's window that has begun, with all of its shards."""

    budget_id: int
    tenant_id: int
    scope: str
    subject: str
    unit: str
    period: str
    starts_at: datetime
    ends_at: datetime | None
    limit: Decimal
    spent: Decimal

    @property
    def key(self) -> tuple[int, str]:
        return self.budget_id, self.subject


WINDOWS = """
SELECT b.id, b.tenant_id, b.scope, w.subject, b.unit, b.period, w.starts_at, w.ends_at, l.amount, sum(w.spent)
FROM billing_budget AS b
JOIN billing_limit_now AS l ON l.budget_id = b.id
JOIN billing_budgetwindow AS w ON w.budget_id = b.id AND w.starts_at <= %(at)s AND (w.ends_at > %(at)s OR w.ends_at IS NULL)
WHERE b.is_active AND b.scope <> 'run' AND (b.scope <> 'prepaid' OR b.id = ANY (%(budgets)s)) AND b.tenant_id = ANY (%(tenants)s)
  AND (%(budgets)s::bigint[] IS NULL OR b.id = ANY (%(budgets)s))
GROUP BY b.id, w.subject, w.starts_at, w.ends_at, l.amount
ORDER BY sum(w.spent) / nullif(l.amount, 0) DESC NULLS LAST, b.id, w.subject
LIMIT %(limit)s
"""


def forecast_tenants(tenant_ids: Sequence[int], *, at: datetime | None = None) -> dict[int, Forecast]:
    """USD of each tenant's running month (UTC, as the days' sums): one statement."""
    at = (at or now()).astimezone(UTC)
    if not tenant_ids:
        return {}
    starts_at, ends_at = _month(at)
    known = histories.of_tenants(tenant_ids, today=at.date())
    spent = [_since(days, starts_at.date()) for days in known.exact]
    found = _forecasts(known, spent, ["usd"] * len(spent), starts_at=starts_at, ends_at=ends_at, at=at)
    return dict(zip(tenant_ids, found, strict=True))


def forecast_total(tenant_ids: Sequence[int], *, at: datetime | None = None) -> Forecast:
    """USD of all these tenants together, as one: one statement. An interval of a sum is not the sum of intervals."""
    at = (at or now()).astimezone(UTC)
    starts_at, ends_at = _month(at)
    known = histories.of_all(tenant_ids, today=at.date())
    spent = [_since(days, starts_at.date()) for days in known.exact]
    return _forecasts(known, spent, ["usd"], starts_at=starts_at, ends_at=ends_at, at=at)[0]


def open_windows(
    tenant_ids: Sequence[int],
    *,
    budget_ids: Sequence[int] | None = None,
    limit: int = WINDOWS_AT_ONE_TIME,
    at: datetime | None = None,
) -> list[Window]:
    """The windows that run now of active budgets, the fullest first."""
    wanted = {"tenants": list(tenant_ids), "budgets": None if budget_ids is None else list(budget_ids)}
    with connection.cursor() as cursor:
        cursor.execute(WINDOWS, {**wanted, "at": at or now(), "limit": min(limit, WINDOWS_AT_ONE_TIME)})
        return [Window(*row) for row in cursor.fetchall()]


def forecast_windows(
    windows: Sequence[Window], *, at: datetime | None = None
) -> dict[tuple[int, str], Forecast]:
    """What each window will have used at its end, by `Window.key`: one statement for each scope there is."""
    at = (at or now()).astimezone(UTC)
    result: dict[tuple[int, str], Forecast] = {}
    for scope, of_scope in groupby(sorted(windows, key=_scope_and_span), key=lambda one: one.scope):
        group = list(of_scope)
        wanted = [(one.tenant_id, one.subject, one.unit) for one in group]
        known = histories.of_subjects(scope, wanted, today=at.date())
        first = 0
        for (_, starts_at, ends_at), of_span in groupby(group, key=_scope_and_span):
            part = list(of_span)
            rows = slice(first, first + len(part))
            first += len(part)
            found = _forecasts(
                known.rows(rows),
                [one.spent for one in part],
                [one.unit for one in part],
                starts_at=max(starts_at, at - timedelta(days=histories.DAYS_KEPT)),
                ends_at=min(ends_at, at + timedelta(days=MOST_DAYS_AHEAD)),
                at=at,
            )
            result.update(zip((one.key for one in part), found, strict=True))
    return result


def _scope_and_span(window: Window) -> tuple[str, datetime, datetime]:
    return window.scope, window.starts_at, window.ends_at or datetime.max.replace(tzinfo=UTC)


def _month(at: datetime) -> tuple[datetime, datetime]:
    first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first, (first + timedelta(days=32)).replace(day=1)


def _since(days: dict[date, Decimal], first: date) -> Decimal:
    return sum((amount for day, amount in days.items() if day >= first), Decimal(0))


def _forecasts(
    known: Histories,
    spent: Sequence[Decimal],
    units: Sequence[str],
    *,
    starts_at: datetime,
    ends_at: datetime,
    at: datetime,
) -> list[Forecast]:
    """The forecasts of subjects whose time begins and ends at the same moments."""
    today = at.date()
    ahead, shares = _days_between(at, ends_at)
    coming = paths(known.past, known.days, ahead, shares)
    lived = known.lived()
    time_percent = _percent((at - starts_at) / (ends_at - starts_at))
    usual = _usual_shares(known, ahead, shares, starts_at=starts_at, at=at)
    result = []
    for row, (amount, unit) in enumerate(zip(spent, units, strict=True)):
        is_known = bool(lived[row] >= LEAST_DAYS)
        days = _days(coming, row, amount, unit, today) if is_known else ()
        last = days[-1] if days else Day(today, amount, amount, amount)
        result.append(
            Forecast(
                amount, last.low, last.middle, last.high, starts_at, ends_at, int(lived[row]), is_known,
                time_percent, _percent(usual[row]) if is_known else time_percent, days,
            )
        )  # fmt: skip
    return result


def _days(coming: Paths, row: int, spent: Decimal, unit: str, today: date) -> tuple[Day, ...]:
    places = _PLACES.get(unit, Decimal(1))

    def total(amount: float) -> Decimal:
        return spent + Decimal(amount).quantize(places)

    return tuple(
        Day(today + ONE_DAY * number, total(low), total(middle), total(high))
        for number, (low, middle, high) in enumerate(
            zip(coming.low[row], coming.middle[row], coming.high[row], strict=True)
        )
    )


def _days_between(start: datetime, end: datetime) -> tuple[Calendar, Floats]:
    """The days (UTC) from one moment to another, and the part of each that lies between them; one at least."""
    first = start.date()
    last = max(first, (end - timedelta(microseconds=1)).astimezone(UTC).date())
    number = (last - first).days + 1
    edges = [datetime.combine(first + ONE_DAY * day, datetime.min.time(), UTC) for day in range(number + 1)]
    shares = [max((min(after, end) - max(before, start)) / ONE_DAY, 0.0) for before, after in pairwise(edges)]
    return Calendar.of(first, number), np.array(shares)


def _usual_shares(
    known: Histories, ahead: Calendar, shares: Floats, *, starts_at: datetime, at: datetime
) -> Floats:
    """The share of the window's use that is usually over by now: weekdays and the edges of months count as they do."""
    weekday, edge = usual_factors(known.past, known.days)
    gone, gone_shares = _days_between(starts_at, at)
    before = (weekday[:, gone.weekdays] * edge[:, gone.edges] * gone_shares).sum(1)
    after = (weekday[:, ahead.weekdays] * edge[:, ahead.edges] * shares).sum(1)
    share: Floats = before / np.maximum(before + after, 1e-12)
    return share


def _percent(share: float) -> Decimal:
    return (Decimal(share) * 100).quantize(Decimal("0.1"))
