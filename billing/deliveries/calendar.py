"""When a schedule's next day or month is due, and what that occasion is called.

Invariant: pure. An occasion's name is the same however often and by whomever it is found, so it is delivered once.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

DAILY: Final = "daily"
MONTHLY: Final = "monthly"
CLOSE: Final = "close"


def next_after(moment: datetime, *, when: str, day: int | None, hour: int, timezone: str) -> datetime | None:
    """The first time after a moment at which it is due, in UTC; None where no clock says so."""
    zone = ZoneInfo(timezone)
    local = moment.astimezone(zone)
    if when == DAILY:
        following = local.date() + timedelta(days=1)
        days = [local.date(), following, following + timedelta(days=1)]
    elif when == MONTHLY:
        months = (divmod(local.year * 12 + local.month - 1 + further, 12) for further in range(2))
        days = [date(year, month + 1, day or 1) for year, month in months]
    else:
        return None
    # in UTC: of an hour that a change of clocks leaves out, or has twice, Python compares no other way
    due = (datetime(one.year, one.month, one.day, hour, tzinfo=zone).astimezone(UTC) for one in days)
    return next(one for one in due if one > moment)


def occasion_of(due: datetime, *, when: str, timezone: str) -> str:
    """What is due at a time: "day-2026-11-29", or "month-2026-10"."""
    local = due.astimezone(ZoneInfo(timezone))
    if when == DAILY:
        return f"day-{local:%Y-%m-%d}"
    return f"month-{month_before(local)}"


def month_before(local: datetime) -> str:
    """The label of the month before the one that a local time is in."""
    last = local.replace(day=1) - timedelta(days=1)
    return f"{last:%Y-%m}"


def of_close(month: str) -> str:
    """What the close of a month is called."""
    return f"close-{month}"
