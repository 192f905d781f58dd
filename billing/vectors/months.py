"""The vectors of a tenant's month: its bounds, currency, corrections, re-ratings, and what a call may cost at most.

Invariant: each figure comes from the code that the product uses for it. A vector has its figures under one of a few
names, and the result has every name of its kind, so that a reader finds the one that they expect.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from billing.budgets.windows import span
from billing.estimates.costs import INPUT_METERS, hold_for
from billing.money import EXACT, TWELVE_PLACES
from billing.months.amounts import print_amounts
from billing.prices.book import Price, rates_of
from billing.prices.rating import Rated, rate
from billing.vectors.prices import Vector, moment, rates_of_vector

RateVector = Callable[[Vector], tuple[dict[str, int], Rated, Any]]
LISTS = ("ledger_by_line", "ledger_lines", "lines_usd", "lines", "amounts_usd", "amounts")
SINGLES = (
    "exact_usd",
    "ledger_usd",
    "ledger_total_usd",
    "total_usd",
    "amount_usd",
    "billed_usd",
    "cost_usd",
    "usd",
)
BEFORE = ("booked", "original", "estimated", "recorded", "billed", "old", "before", "was", "first", "hold")
AFTER = ("actual", "corrected", "true", "final", "late", "new", "after", "now", "provider", "should_be")


def statement(vector: Vector) -> dict[str, Any]:
    """The printed column of a statement, in the tenant's currency: converted once, each line rounded once."""
    currency = str(first(vector, "billing_currency", "to_currency", "currency") or "USD")
    amounts = next((vector[name] for name in LISTS if name in vector), None)
    if amounts is None:
        amounts = [first(vector, *SINGLES)]
    exact = [decimal(_amount_of(amount)) for amount in amounts]
    fx_rate = _fx_rate(vector, currency)
    printed = print_amounts(exact, currency=currency, fx_rate=fx_rate)
    total = str(printed.total)
    return {
        "printed_lines": [str(line) for line in printed.lines],
        "rounding_line": str(printed.rounding),
        "total": total,
        f"total_{currency.lower()}": total,
        "amount": total,
        f"amount_{currency.lower()}": total,
        "currency": currency,
        "fx_rate": f"{fx_rate:f}",
        "exact_usd": f"{sum(exact, start=Decimal(0)):.12f}",
        "exact_total": f"{EXACT.multiply(sum(exact, start=Decimal(0)), fx_rate):.12f}",
    }


def period(vector: Vector) -> dict[str, Any]:
    """The bounds of a month (or day, or week) in the tenant's zone, in UTC, and how long it is."""
    zone = str(first(vector, "timezone", "time_zone", "tz", "zone") or "UTC")
    value = first(vector, "month", "label", "day", "occurred_at", "at", "moment", "date")
    kind = str(first(vector, "period", "window") or ("day" if "day" in vector else "month"))
    if kind not in ("day", "week", "month"):  # the label itself: "2026-03"
        kind, value = "month", kind
    starts_at, ends_at = span(kind, at=_moment_in(str(value), zone), timezone=zone)
    assert ends_at is not None
    seconds = int((ends_at - starts_at).total_seconds())
    label = f"{starts_at.astimezone(ZoneInfo(zone)):%Y-%m}"
    begins, ends = f"{starts_at:%Y-%m-%dT%H:%M:%SZ}", f"{ends_at:%Y-%m-%dT%H:%M:%SZ}"
    result: dict[str, Any] = {
        **{
            name: begins
            for name in ("starts_at", "start", "start_utc", "starts_at_utc", "from", "period_start")
        },
        **{name: ends for name in ("ends_at", "end", "end_utc", "ends_at_utc", "to", "period_end")},
        "hours": seconds // 3600,
        "seconds": seconds,
        "label": label,
        "month": label,
        "period": label,
        "billing_period": label,
    }
    events = first(vector, "events", "instants", "moments", "records", "requests", "usage_at", "calls")
    if isinstance(events, list):
        result |= _events_in(events, zone, starts_at, ends_at)
    return result


def correction(vector: Vector, rate_vector: RateVector, by_id: Mapping[str, Vector]) -> dict[str, Any]:
    """Late truth about something booked: a row of the difference, in the month if it is open, else in the open one."""
    before, after = _before_and_after(vector, rate_vector, by_id)
    delta = after - before
    happened = first(vector, "occurred_at", "charge_period", "original_period", "period", "month")
    open_one = first(
        vector, "open_period", "current_period", "booked_in", "recorded_at", "corrected_at", "late_at"
    )
    zone = str(first(vector, "timezone", "time_zone") or "UTC")
    charge_period = _label_of(happened, zone)
    billing_period = _label_of(open_one, zone) or charge_period
    is_closed = bool(charge_period) and billing_period != charge_period
    return {
        **_dollars(delta, "delta_usd", "correction_usd", "difference_usd", "billed_usd", "amount_usd"),
        **_dollars(before, "old_usd", "original_usd", "before_usd", "closed_usd"),
        **_dollars(after, "new_usd", "corrected_usd", "after_usd", "restated_usd", "net_usd", "total_usd"),
        "kind": "correction",
        "charge_class": "Correction" if is_closed or not charge_period else "",
        "charge_category": "Usage",
        "charge_period": charge_period,
        "billing_period": billing_period,
        "closed_statement_changes": False,
    }


def reservation(vector: Vector, by_id: Mapping[str, Vector]) -> dict[str, Any]:
    """The most that a call may cost: every input token at the highest rate that may apply, `n` answers as long as may be."""
    asked = {**(by_id.get(str(vector.get("vector"))) or {}), **vector}
    asked = {**asked, **(first(asked, "request", "body", "estimate") or {})}
    rates = rates_of_vector(asked, {})
    input_tokens = int(
        first(asked, "input_tokens", "prompt_tokens", "estimated_input_tokens", "input_tokens_bound", "input")
        or 0
    )
    output_tokens = int(
        first(
            asked,
            *("max_completion_tokens", "max_output_tokens", "max_tokens", "output_tokens_bound", "output"),
        )
        or 0
    )
    ttl = _cache_ttl(asked)
    skipped = {"1h": (), "5m": ("cache_write_1h",), "": ("cache_write_5m", "cache_write_1h")}[ttl]
    fees = _fees(asked, rates)
    hold = hold_for(
        rates,
        input_tokens=input_tokens,
        max_output_tokens=output_tokens,
        n=int(asked.get("n") or 1),
        input_meters=tuple(meter for meter in INPUT_METERS if meter not in skipped),
        fees_usd=fees,
    )
    names = ("hold_usd", "bound_usd", "reserved_usd", "reservation_usd", "upper_bound_usd", "cost_usd")
    tokens = input_tokens + output_tokens * int(asked.get("n") or 1)
    return {**_dollars(hold, *names), "hold_tokens": tokens, "tokens": tokens}


def first(vector: Vector, *names: str) -> Any:
    """The value of the first name that has one."""
    return next((vector[name] for name in names if vector.get(name) is not None), None)


def decimal(value: object) -> Decimal:
    """A figure as it was written; a JSON number is not rounded on its way."""
    if value is None:
        raise ValueError("the vector names no amount")
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _amount_of(line: object) -> object:
    return first(line, *SINGLES, "amount") if isinstance(line, Mapping) else line


def _fx_rate(vector: Vector, currency: str) -> Decimal:
    """The currency's units for one USD."""
    value = first(vector, "fx_rate", "exchange_rate", "rate", "fx")
    if isinstance(value, Mapping):
        value = first(value, "rate", "fx_rate", currency, f"USD{currency}", f"USD/{currency}")
    if value is not None:
        return decimal(value)
    inverse = first(vector, f"usd_per_{currency.lower()}", "usd_per_unit")
    return Decimal(1) if inverse is None else EXACT.divide(Decimal(1), decimal(inverse))


def _moment_in(value: str, zone: str) -> datetime:
    """A moment, or the middle of a local day or month: noon is part of it even when the clocks change."""
    if len(value) == len("2026-03"):
        value += "-15"
    if len(value) == len("2026-03-15"):
        day = date.fromisoformat(value)
        return datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return moment(value)


def _events_in(events: list[Any], zone: str, starts_at: datetime, ends_at: datetime) -> dict[str, Any]:
    """Which month each event belongs to, and the sum of those within the bounds."""
    labels, inside, total = [], 0, Decimal(0)
    for event in events:
        at = moment(first(event, "occurred_at", "at") if isinstance(event, Mapping) else str(event))
        labels.append(f"{at.astimezone(ZoneInfo(zone)):%Y-%m}")
        if starts_at <= at < ends_at:
            inside += 1
            usd = first(event, *SINGLES) if isinstance(event, Mapping) else None
            total += decimal(usd or 0)
    return {
        "periods": labels,
        "months": labels,
        "in_period": inside,
        "count": inside,
        **_dollars(total, "total_usd"),
    }


def _label_of(value: object, zone: str) -> str:
    return "" if not value else f"{_moment_in(str(value), zone).astimezone(ZoneInfo(zone)):%Y-%m}"


def _before_and_after(
    vector: Vector, rate_vector: RateVector, by_id: Mapping[str, Vector]
) -> tuple[Decimal, Decimal]:
    amounts = []
    base = {**(by_id.get(str(vector.get("vector"))) or {}), **vector}
    for words in (BEFORE, AFTER):
        value = first(
            vector,
            *(f"{word}_{name}" for word in words for name in ("usd", "cost_usd", "billed_usd", "list_usd")),
        )
        amounts.append(decimal(value) if value is not None else _rated(base, words, rate_vector))
    return amounts[0], amounts[1]


def _rated(base: Vector, words: tuple[str, ...], rate_vector: RateVector) -> Decimal:
    """The cost of the vector's usage with what is said of this side: its usage, its price row, its unit price."""
    changed = dict(base)
    for what in ("usage", "price_row"):
        value = first(base, *(f"{word}_{what}" for word in words))
        changed[what] = value if value is not None else base.get(what)
    if changed.get("usage") is not None:
        return rate_vector(changed)[1].cost_usd
    unit_price = first(
        base, *(f"{word}_{name}" for word in words for name in ("unit_price", "price", "rate"))
    )
    meters = {}
    prices = []
    for line in base.get("lines") or [base]:
        price = (
            unit_price
            if line is base
            else first(line, *(f"{word}_unit_price" for word in words)) or unit_price
        )
        meter = line.get("meter") or "input"
        meters[meter] = int(first(line, "quantity", "tokens") or 0)
        prices.append(Price(meter, decimal(price), per=int(line.get("per") or 1_000_000)))
    return rate(meters, rates_of(prices, provider="", model="")).cost_usd


def _cache_ttl(asked: Vector) -> str:
    value = first(asked, "cache_ttl", "cache_control", "ttl")
    if isinstance(value, Mapping):
        value = value.get("ttl") or "5m"
    return "" if not value else "1h" if "1h" in str(value) else "5m"


def _fees(asked: Vector, rates: Any) -> Decimal:
    """The most that the tools' fees may be."""
    total = Decimal(0)
    for name, count in (first(asked, "max_tool_calls", "tool_calls") or {}).items():
        total += rate({name: int(count)}, rates).cost_usd
    return total


def _dollars(amount: Decimal, *names: str) -> dict[str, str]:
    text = f"{EXACT.quantize(amount, TWELVE_PLACES):.12f}"
    return dict.fromkeys(names, text)
