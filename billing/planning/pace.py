"""How fast a budget is used: its pace against the time that is gone, and when it will be empty.

Invariant: pure; what is said follows from a window and its forecast alone.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from billing.planning.forecasts import Forecast, Window

# Within a tenth of what is usual nothing is said to be fast or slow.
NEARLY: Final = Decimal("1.1")


@dataclass(frozen=True, slots=True)
class Pace:
    """A budget's use beside the time: `ratio` is used / usually used by now; 1 is on pace."""

    used_percent: Decimal
    time_percent: Decimal
    usual_percent: Decimal

    @property
    def ratio(self) -> Decimal:
        return (self.used_percent / max(self.usual_percent, Decimal("0.1"))).quantize(Decimal("0.01"))

    @property
    def word(self) -> str:
        """`fast`, `on pace` or `slow`."""
        if self.used_percent > self.usual_percent * NEARLY:
            return "fast"
        return "slow" if self.used_percent * NEARLY < self.usual_percent else "on pace"

    def __str__(self) -> str:
        text = f"{self.used_percent:.0f} % spent, {self.time_percent:.0f} % of the time gone"
        if abs(self.usual_percent - self.time_percent) >= 1:
            text += f" (usually {self.usual_percent:.0f} % spent by now)"
        return text


@dataclass(frozen=True, slots=True)
class Runway:
    """The days on which a budget may become empty: with use as high, as usual and as low as is likely.

    None is a day after the end of its window, or of what is forecast. `is_empty`: there is nothing left now.
    """

    earliest: date | None
    likely: date | None
    latest: date | None
    is_empty: bool = False

    def __str__(self) -> str:
        if self.is_empty:
            return "empty now"
        if self.earliest is None:
            return "lasts"
        if self.latest is None:
            return f"may be empty from {_said(self.earliest)} on"
        if self.earliest == self.latest:
            return f"empty on {_said(self.earliest)}"
        return f"empty between {_said(self.earliest)} and {_said(self.latest)}"


def pace_of(window: Window, forecast: Forecast) -> Pace:
    """The pace of a window; with too little history the usual share is that of the time."""
    limit = window.limit
    used = window.spent * 100 / limit if limit > 0 else Decimal(100)
    return Pace(used.quantize(Decimal("0.1")), forecast.time_percent, forecast.usual_percent)


def runway_of(limit: Decimal, forecast: Forecast) -> Runway:
    """When `limit` is reached, by the forecast's days."""
    if forecast.spent >= limit:
        return Runway(None, None, None, is_empty=True)

    def first(name: str) -> date | None:
        return next((one.day for one in forecast.days if getattr(one, name) >= limit), None)

    return Runway(first("high"), first("middle"), first("low"))


def _said(day: date) -> str:
    return f"{day.day} {day:%b}"
