"""Whether the last minutes are a jump: pure arithmetic over a tenant's spans of five minutes.

Invariant: a jump is all of these. The spend is threshold times the usual pace of this hour, and not below what as many minutes
ever cost at this time; the requests are threshold times the usual, too, and clearly more than they ever were, or the spend
alone is so without any doubt. "At this time" is five minutes to either side, and half an hour or more for a tenant whose days
differ: where nobody can say when the next session begins, that none did at this minute says little. Where the hour before was
busier than usual, this one may be, too. Working days are compared with working days, weekends with weekends, and the highest
day is left out, so that yesterday's incident does not hide today's.

What is compared is no money that anybody pays: floats will do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

SPAN_MINUTES: Final = 5
DAYS: Final = 14
IN_A_DAY: Final = 24 * 60 // SPAN_MINUTES
# spans that are looked at: two weeks of whole days, today, the hour before the same moment then, and one for changed clocks
LENGTH: Final = (DAYS + 1) * IN_A_DAY + 30
LEAST_DAYS: Final = (
    3  # of the same kind; with fewer, every hour since the tenant began is compared with, of a day at least
)
FEW_DAYS: Final = 6  # below that no day is left out of the highest
AROUND: Final = 1  # spans, before and after: what begins at a time of day does not begin to the minute
DIFFERING: Final = 0.4  # of their mean is what ten minutes differ by from day to day, where days differ
AROUND_DIFFERING: Final = 16  # spans, times that share
REQUESTS_ABOVE: Final = 1.9  # times the highest
WITHOUT_DOUBT: Final = 3.0  # times the highest, of the spend alone
LEAST_OF_MEAN: Final = 0.05  # of the pace of all hours: ten times next to nothing is no news
BUSIEST: Final = 9.0  # times the usual that the hour before is believed to be busy


@dataclass(frozen=True, slots=True)
class Calendar:
    """Where a moment stands among a tenant's days. All in spans before it.

    `alike`: the same time on days that are working days or weekends like this one. `whole_days`: where the two weeks of whole
    days before today began, and whether each was of a weekend.
    """

    alike: Sequence[int]
    whole_days: Sequence[tuple[int, bool]]


@dataclass(frozen=True, slots=True)
class Fortnight:
    """A tenant's spans, the oldest first, the last one running; sums without the dearest request of each span.

    `known` is how many spans there are since the tenant began; `minutes` how long the last two have lasted, and `booked` how many
    of these are in the sums.
    """

    usd: Any
    requests: Any
    calendar: Calendar
    known: int
    minutes: float
    booked: float


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


@lru_cache(maxsize=1_000)
def calendar_of(at: datetime, zone: ZoneInfo) -> Calendar:
    """Where a moment stands among the days of a zone."""
    local = at.astimezone(zone)
    days = [local - timedelta(days=ago) for ago in range(1, DAYS + 1)]  # by the tenant's clock
    midnights = [day.replace(hour=0, minute=0, second=0, microsecond=0) for day in days]
    return Calendar(
        [_spans(at, day) for day in days if _is_weekend(day) == _is_weekend(local)],
        [(_spans(at, midnight), _is_weekend(midnight)) for midnight in midnights],
    )


def rise_of(spent: Fortnight, *, threshold: float) -> Rise | None:
    """The jump that the last two spans are, if they are one."""
    rise = _rise_above(spent, threshold=threshold, around=AROUND)
    if rise and (difference := _difference_of_days(spent)) > DIFFERING:
        return _rise_above(spent, threshold=threshold, around=round(AROUND_DIFFERING * difference))
    return rise


def _rise_above(spent: Fortnight, *, threshold: float, around: int) -> Rise | None:
    usd = _measure(spent.usd, spent, around=around)
    if usd is None or usd.usual <= 0 or usd.now < threshold * usd.usual or usd.now < usd.highest:
        return None
    requests = _measure(spent.requests, spent, around=around)
    if requests is None:
        return None
    both = requests.now >= threshold * requests.usual and requests.now >= REQUESTS_ABOVE * requests.highest
    if not both and usd.now < WITHOUT_DOUBT * usd.highest:
        return None
    return Rise(usd.now / usd.usual, usd.usual)


def _measure(values: Any, spent: Fortnight, *, around: int) -> _Measure | None:
    """The last two spans, and what they are compared with; None if there is nothing to compare with."""
    before = min(spent.known, DAYS * IN_A_DAY) - 2  # spans, besides the last two
    if before < IN_A_DAY - 2:
        return None
    now = float(values[-2:].sum())
    mean = float(values[-2 - before : -2].sum()) / (before * SPAN_MINUTES)
    last = len(values) - 1
    ends = np.array([last - lag for lag in spent.calendar.alike if lag < spent.known], dtype=int)
    hours, highest = _hours(values, ends), _highest(values[:-1], values[1:], booked=spent.booked)
    if len(ends) < LEAST_DAYS or 2 * (hours > 0).sum() <= len(ends):
        return _Measure(now, mean * spent.minutes, float(highest[-2 - before : -2].max()))
    least = LEAST_OF_MEAN * mean
    busy = float(values[-14:-2].sum()) / 60 / max(_pace(_hours(values, ends - 6)), least, 1e-12)
    level = min(max(busy, 1.0), BUSIEST) ** 0.5
    near = ends[:, None] - 1 + np.arange(-around, around + 1)
    of_days = np.sort(highest[near].max(axis=1))
    return _Measure(
        now,
        max(_pace(hours), least) * level * spent.minutes,
        float(of_days[-1 if len(ends) < FEW_DAYS else -2]) * level,
    )


def _difference_of_days(spent: Fortnight) -> float:
    """How much the requests of ten minutes differ between days that are alike, as a share; 1 at most, or if not known."""
    tens, last = spent.requests[1:] + spent.requests[:-1], len(spent.requests) - 1
    differences = total = 0.0
    for weekend in (False, True):
        begins = [ago for ago, is_weekend in spent.calendar.whole_days if is_weekend == weekend]
        days = [tens[last - ago - 1 :][:IN_A_DAY] for ago in begins if IN_A_DAY <= ago < spent.known]
        if len(days) < LEAST_DAYS:
            continue
        rows = np.sort(np.array(days), axis=0)
        rows = rows[:-1] if len(rows) > LEAST_DAYS else rows  # without the highest
        differences += float(rows.std(axis=0, ddof=1).sum())
        total += float(rows.mean(axis=0).sum())
    return min(1.0, differences / total) if total > 0 else 1.0


def _highest(before: Any, last: Any, *, booked: float) -> Any:
    """The most that two spans can have had in so many minutes in a row, if each was even."""
    if booked < SPAN_MINUTES:
        return np.maximum(before, last) * (booked / SPAN_MINUTES)
    part = booked / SPAN_MINUTES - 1
    return np.maximum(before + part * last, part * before + last)


def _hours(values: Any, ends: Any) -> Any:
    """The sums of the hour around some moments."""
    return values[ends[:, None] + np.arange(-7, 5)].sum(axis=1)


def _pace(hours: Any) -> float:
    """A minute's mean of some hours, without the highest of them."""
    return float((hours.sum() - hours.max()) / (len(hours) - 1) / 60)


def _spans(at: datetime, before: datetime) -> int:
    return round((at - before.astimezone(at.tzinfo)) / timedelta(minutes=SPAN_MINUTES))


def _is_weekend(day: datetime) -> bool:
    return day.weekday() > 4
