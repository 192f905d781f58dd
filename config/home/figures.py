"""The figures on top of the home page, each with how it went, and how it was in the time before.

Invariant: display only, of the days that `reading` found; a share is of the whole time, not the mean of its days.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.utils.safestring import SafeString

from billing.admin.figures import count, percent, usd
from billing.planning.forecasts import Forecast
from config.home.budgets import MonthBudgets
from config.home.choices import Choice, Span
from config.home.reading import Answers, Day
from config.site.plots import sparkline


@dataclass(frozen=True)
class Change:
    """How a figure differs from the time before; `state` colours it where more is better or worse."""

    text: str
    state: str = ""


@dataclass(frozen=True)
class Card:
    """One figure."""

    title: str
    value: str
    notes: Sequence[str]
    change: Change | None
    spark: SafeString | str
    url: str = ""

    @property
    def is_pair(self) -> bool:
        """Two figures need smaller letters."""
        return " · " in self.value


def cards(
    choice: Choice,
    days: Mapping[date, Day],
    answers: Mapping[date, Answers],
    budgets: MonthBudgets,
    forecast: Forecast,
) -> list[Card]:
    """The row of figures."""
    money, before = _sum(days, choice.span), _sum(days, choice.before)
    ended, ended_before = _all(answers, choice.span), _all(answers, choice.before)
    line = _lines(choice, days, answers)
    return [
        Card(
            "Spent",
            usd(money.billed),
            [*budgets.notes(), foreseen(forecast)],
            _relative(money.billed, before and before.billed),
            line(lambda day, _: day.billed),
        ),
        Card(
            "Saved",
            usd(money.saved),
            [f"{percent(money.saved, money.listed)} of {usd(money.listed)} at list price"],
            _relative(money.saved, before and before.saved, is_good=True),
            line(lambda day, _: max(day.saved, Decimal(0))),
        ),
        Card(
            "Requests",
            count(ended.requests),
            [f"{count(ended.outcomes['answered'])} to a provider"],
            _relative(ended.requests, ended_before and ended_before.requests),
            line(lambda _, ended: ended.requests),
            choice.requests(),
        ),
        Card(
            "Refused · failed",
            f"{_share(ended, 'refused')} · {_share(ended, 'failed')}",
            [f"{count(ended.outcomes['refused'])} refused, {count(ended.outcomes['failed'])} failed"],
            _points(_bad(ended), ended_before and _bad(ended_before), is_good=False),
            line(lambda _, ended: ended.outcomes["refused"] + ended.outcomes["failed"]),
            choice.requests(outcome="failed"),
        ),
        Card(
            "Cache hit rate",
            percent(money.hits, money.requests),
            [f"{count(money.hits)} answers from the cache"],
            _points(_rate(money), before and _rate(before), is_good=True),
            line(lambda day, _: float(day.hits / day.requests) if day.requests else 0.0),
            choice.requests(outcome="cached"),
        ),
        Card(
            "Latency p50 · p95",
            f"{time(ended.latency(0.5))} · {time(ended.latency(0.95))}",
            [f"first token {time(ended.first_token(0.5))} · {time(ended.first_token(0.95))}"],
            _relative(
                ended.latency(0.95) or 0.0,
                ended_before and (ended_before.latency(0.95) or 0.0),
                is_good=False,
            ),
            line(lambda _, ended: ended.latency(0.95) or 0.0),
        ),
    ]


def foreseen(forecast: Forecast) -> str:
    """What the month comes to, in words."""
    if not forecast.is_known:
        return "too little history for a forecast"
    return f"forecast for the month {usd(forecast.middle)}, 90 %: {usd(forecast.low)} to {usd(forecast.high)}"


def time(milliseconds: float | None) -> str:
    """A time for reading: "340 ms", "1.2 s"."""
    if milliseconds is None:
        return "–"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.3g} s"


def _lines(
    choice: Choice, days: Mapping[date, Day], answers: Mapping[date, Answers]
) -> Callable[[Callable[[Day, Answers], Any]], SafeString | str]:
    pairs = [(days.get(day, Day()), answers.get(day) or Answers()) for day in choice.span.days]
    return lambda figure: sparkline([figure(*pair) for pair in pairs])


def _sum(days: Mapping[date, Day], span: Span | None) -> Any:
    if span is None:
        return None
    return sum((days[day] for day in span.days if day in days), start=Day())


def _all(answers: Mapping[date, Answers], span: Span | None) -> Any:
    if span is None:
        return None
    whole = Answers()
    for day in span.days:
        if day in answers:
            for name in ("outcomes", "latencies", "first_tokens"):
                counts = getattr(whole, name)
                for key, number in getattr(answers[day], name).items():
                    counts[key] += number
    return whole


def _relative(now: Any, before: Any, *, is_good: bool | None = None) -> Change | None:
    """The change in percent; nothing without a time before."""
    if not before:
        return None
    change = float(now / before) - 1
    return Change(f"{100 * change:+,.0f} %", _state(change, is_good))


def _points(now: float | None, before: float | None, *, is_good: bool) -> Change | None:
    """The change of a share in percentage points."""
    if now is None or before is None:
        return None
    return Change(f"{100 * (now - before):+.1f} pp", _state(now - before, is_good))


def _state(change: float, is_good: bool | None) -> str:
    if is_good is None or abs(change) < 0.0005:
        return ""
    return "well" if (change > 0) == is_good else "alarm"


def _bad(ended: Answers) -> float | None:
    bad = ended.outcomes["refused"] + ended.outcomes["failed"]
    return bad / ended.requests if ended.requests else None


def _rate(money: Day) -> float | None:
    return money.hits / money.requests if money.requests else None


def _share(ended: Answers, outcome: str) -> str:
    return percent(ended.outcomes[outcome], ended.requests)
