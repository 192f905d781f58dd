"""Whether the last minutes are a jump: pure arithmetic over a tenant's spans of five minutes.

Invariant: a jump is all of these. The spend is threshold times the usual pace of this hour, and clearly more than ten minutes
ever were at this time; the requests are too, or the spend is so without any doubt. Where the hour before was busier than usual,
this one may be, too. Working days are compared with working days, weekends with weekends, and the highest day is left out,
so that yesterday's incident does not hide today's.

What is compared is no money that anybody pays: floats will do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

SPAN_MINUTES: Final = 5
DAYS: Final = 14
IN_A_DAY: Final = 24 * 60 // SPAN_MINUTES
# spans that are looked at: two weeks, the hour before the same moment then, and an hour because clocks are changed
LENGTH: Final = DAYS * IN_A_DAY + 30
LEAST_DAYS: Final = (
    3  # of the same kind; with fewer, every hour since the tenant began is compared with, of a day at least
)
FEW_DAYS: Final = 6  # below that no day is left out of the highest
AROUND: Final = 2  # spans, before and after: what begins at a time of day does not begin to the minute
ABOVE_HIGHEST: Final = 1.4
WITHOUT_DOUBT: Final = 1.75  # times that
LEAST_OF_MEAN: Final = 0.05  # of the pace of all hours: ten times next to nothing is no news
BUSIEST: Final = 4.0  # times the usual that the hour before is believed to be busy


@dataclass(frozen=True, slots=True)
class Fortnight:
    """A tenant's spans, the oldest first, the last one running; sums without the dearest request of each span.

    `lags` are how many spans ago it was the same time on days that are like this one; `known` how many spans there are since
    the tenant began; `minutes` how long the last two have lasted.
    """

    usd: Any
    requests: Any
    lags: Sequence[int]
    known: int
    minutes: float


@dataclass(frozen=True, slots=True)
class Rise:
    """How many times the usual was spent, and what is usual in as many minutes."""

    times: float
    usual_usd: float


@dataclass(frozen=True, slots=True)
class _Measure:
    now: float
    usual: float  # in as many minutes
    highest: float


def lags_of(at: datetime, zone: ZoneInfo) -> list[int]:
    """How many spans before a moment it was the same time of day, on days that are working days or weekends like this one."""
    local = at.astimezone(zone)
    days = [local - timedelta(days=ago) for ago in range(1, DAYS + 1)]  # by the tenant's clock
    alike = [day for day in days if (day.weekday() > 4) == (local.weekday() > 4)]
    return [round((at - day.astimezone(at.tzinfo)) / timedelta(minutes=SPAN_MINUTES)) for day in alike]


def rise_of(spent: Fortnight, *, threshold: float) -> Rise | None:
    """The jump that the last two spans are, if they are one."""
    usd, requests = _measure(spent.usd, spent), _measure(spent.requests, spent)
    if usd is None or requests is None or usd.usual <= 0:
        return None
    if usd.now < threshold * usd.usual or usd.now < ABOVE_HIGHEST * usd.highest:
        return None
    both = requests.now >= threshold * requests.usual and requests.now >= ABOVE_HIGHEST * requests.highest
    if not both and usd.now < WITHOUT_DOUBT * ABOVE_HIGHEST * usd.highest:
        return None
    return Rise(usd.now / usd.usual, usd.usual)


def _measure(values: Any, spent: Fortnight) -> _Measure | None:
    """The last two spans, and what they are compared with; None if there is nothing to compare with."""
    before = min(spent.known, DAYS * IN_A_DAY) - 2  # spans, besides the last two
    if before < IN_A_DAY - 2:
        return None
    now = float(values[-2:].sum())
    mean = float(values[-2 - before : -2].sum()) / (before * SPAN_MINUTES)
    ends = np.array([len(values) - 1 - lag for lag in spent.lags if lag < spent.known], dtype=int)
    pairs = values[1:] + values[:-1]  # ten minutes, by their second span less one
    hours = _hours(values, ends)
    if len(ends) < LEAST_DAYS or 2 * (hours > 0).sum() <= len(ends):
        return _Measure(now, mean * spent.minutes, float(pairs[-2 - before : -2].max()))
    least = LEAST_OF_MEAN * mean
    busy = float(values[-14:-2].sum()) / 60 / max(_pace(_hours(values, ends - 6)), least, 1e-12)
    level = min(max(busy, 1.0), BUSIEST) ** 0.5
    around = np.arange(-AROUND, AROUND + 1)
    highest = np.sort(pairs[ends[:, None] - 1 + around].max(axis=1))
    return _Measure(
        now,
        max(_pace(hours), least) * level * spent.minutes,
        float(highest[-1 if len(ends) < FEW_DAYS else -2]) * level,
    )


def _hours(values: Any, ends: Any) -> Any:
    """The sums of the hour around some moments."""
    return values[ends[:, None] + np.arange(-7, 5)].sum(axis=1)


def _pace(hours: Any) -> float:
    """A minute's mean of some hours, without the highest of them."""
    return float((hours.sum() - hours.max()) / (len(hours) - 1) / 60)
