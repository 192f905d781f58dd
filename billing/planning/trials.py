"""How good forecasts have been: each is made again from earlier days, as it would have been then, and compared with what came.

Invariant: a trial reads no day after the one it looks from, so it measures what a reader of that day would have had. Once a day,
for the tenants that spend most; one row for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

import numpy as np
from django.db import connection
from django.utils.timezone import now

from billing.models import ForecastTrial
from billing.planning import histories
from billing.planning.forecasts import LEAST_DAYS
from billing.planning.intervals import paths
from billing.planning.patterns import WEEK, Calendar, Floats

# Looks from every third day of the last twelve weeks, each to the end of its month.
LOOKS_FROM_DAYS: Final = 12 * WEEK
STEP_DAYS: Final = 3
MOST_TENANTS: Final = 2_000
AT_ONE_TIME: Final = 200

BIGGEST = """
SELECT tenant_id FROM billing_usagesum WHERE dimension = 'total' AND day > %(since)s
GROUP BY tenant_id ORDER BY sum(billed_cost) DESC, tenant_id LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """Of `looks` forecasts `covered` intervals had the result; `error_percent` is the middle's median error, None for nothing."""

    looks: int
    covered: int
    below: int
    above: int
    error_percent: Decimal | None

    @property
    def covered_percent(self) -> Decimal | None:
        """The share of intervals that had the result; 90 is meant."""
        return (Decimal(self.covered * 100) / self.looks).quantize(Decimal("0.1")) if self.looks else None


def try_out(past: Floats, first: date) -> list[Trial]:
    """Forecast the rest of the month from earlier days, for each subject (a row of days from `first` on)."""
    total = past.shape[1]
    days = Calendar.of(first, total)
    lived = (past.cumsum(1) > 0).cumsum(1)
    inside, below, above, errors, counted = [], [], [], [], []
    for origin in range(total - LOOKS_FROM_DAYS, total, STEP_DAYS):
        length = _left_of_month(first + timedelta(days=origin))
        if origin + length > total:
            continue
        start = origin % WEEK
        seen = past[:, start:origin]
        coming = paths(seen, days.part(start, origin), days.part(origin, origin + length), np.ones(length))
        came = past[:, origin : origin + length].sum(1)
        low, middle, high = coming.low[:, -1], coming.middle[:, -1], coming.high[:, -1]
        slack = 1e-9 * (1 + came)
        below.append(came < low - slack)
        above.append(came > high + slack)
        inside.append(~below[-1] & ~above[-1])
        errors.append(np.where(came > 0, np.abs(middle - came) / np.maximum(came, 1e-12), np.nan))
        counted.append(lived[:, origin - 1] >= LEAST_DAYS)
    return [
        _trial(*(np.array(column)[:, row] for column in (counted, inside, below, above, errors)))
        for row in range(len(past))
    ]


def measure(*, at: datetime | None = None) -> int:
    """Try the forecasts of the tenants that spend most, and keep what came of it. How many tenants."""
    at = at or now()
    with connection.cursor() as cursor:
        since = at.date() - timedelta(days=LOOKS_FROM_DAYS)
        cursor.execute(BIGGEST, {"since": since, "limit": MOST_TENANTS})
        tenants = [row[0] for row in cursor.fetchall()]
    for place in range(0, len(tenants), AT_ONE_TIME):
        _measure(tenants[place : place + AT_ONE_TIME], at)
    ForecastTrial.objects.filter(measured_at__lt=at).delete()
    return len(tenants)


def _measure(tenants: Sequence[int], at: datetime) -> None:
    known = histories.of_tenants(tenants, today=at.date())
    trials = try_out(known.past, at.date() - timedelta(days=histories.DAYS_KEPT))
    rows = [
        ForecastTrial(
            tenant_id=tenant, measured_at=at, looks=trial.looks, covered=trial.covered, below=trial.below,
            above=trial.above, error_percent=trial.error_percent,
        )
        for tenant, trial in zip(tenants, trials, strict=True)
    ]  # fmt: skip
    ForecastTrial.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=("tenant",),
        update_fields=("measured_at", "looks", "covered", "below", "above", "error_percent"),
    )


def _left_of_month(day: date) -> int:
    return ((day.replace(day=1) + timedelta(days=32)).replace(day=1) - day).days


def _trial(counted: Floats, inside: Floats, below: Floats, above: Floats, errors: Floats) -> Trial:
    known = counted.astype(bool)
    found = errors[known & ~np.isnan(errors)]
    # an error of many times what came says "far off", and a column holds no more
    error = (
        Decimal(min(float(np.median(found)) * 100, 9999.0)).quantize(Decimal("0.1")) if len(found) else None
    )
    return Trial(
        int(known.sum()),
        int((inside & known).sum()),
        int((below & known).sum()),
        int((above & known).sum()),
        error,
    )
