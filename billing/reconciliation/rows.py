"""Reads both sides of a comparison: the live lines of the reports, and the ledger of an account.

Invariant: reads only, over all tenants, by the account's name. Our side is the provider cost of usage, corrections
and adjustments from the provider's invoice, on the UTC day the call began; a quantity counts once, on the row that
bought it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from billing.models import CostReport, CostReportLine
from billing.reconciliation.line_items import ModelNames, known_meter
from billing.reconciliation.sides import Cell, Evidence, Key, Line, ModelDay, Side, UnreportedCalls

ROW = "r.provider = %(provider)s AND r.occurred_at >= %(starts_at)s AND r.occurred_at < %(ends_at)s"

# What a call bought, and what was booked of the provider's invoice later on; the answers of our caches bought nothing.
OURS = f"""
SELECT (r.occurred_at AT TIME ZONE 'UTC')::date, r.model, l.meter, r.processing, sum(l.quantity), sum(l.provider_cost)
FROM billing_usagerecord r JOIN billing_usageline l ON l.record_id = r.id AND l.occurred_at = r.occurred_at
WHERE {ROW} AND r.kind IN ('usage', 'correction') AND r.usage_source <> 'gateway_cache'
GROUP BY 1, 2, 3, 4
UNION ALL
SELECT (r.occurred_at AT TIME ZONE 'UTC')::date, r.model, r.tags ->> 'meter', '',
       sum((r.tags ->> 'quantity')::numeric), sum(r.provider_cost)
FROM billing_usagerecord r
WHERE {ROW} AND r.kind = 'adjustment' AND r.usage_source = 'provider_invoice'
GROUP BY 1, 2, 3
"""

# The calls whose usage the provider did not report: void, still open, or counted by us; holds bound what they cost.
ATTEMPTS = """
SELECT (a.occurred_at AT TIME ZONE 'UTC')::date, a.model,
       count(*) FILTER (WHERE a.state <> 'estimated'),
       coalesce(sum(a.hold_usd) FILTER (WHERE a.state <> 'estimated'), 0),
       count(*) FILTER (WHERE a.state = 'estimated'),
       coalesce(sum(a.hold_usd) FILTER (WHERE a.state = 'estimated'), 0)
FROM billing_attempt a
WHERE a.provider = %(provider)s AND a.occurred_at >= %(starts_at)s AND a.occurred_at < %(ends_at)s
  AND a.state <> 'captured'
GROUP BY 1, 2
"""

# Calls that ended on the UTC day after they began: the provider counts the end, we the beginning. Only those whose usage
# the provider reported; when the reaper ended a call says nothing of when the provider did.
CROSSINGS = f"""
SELECT (r.occurred_at AT TIME ZONE 'UTC')::date, (a.settled_at AT TIME ZONE 'UTC')::date, r.model, l.meter,
       sum(l.quantity), sum(l.provider_cost)
FROM billing_usagerecord r
JOIN billing_attempt a ON a.id = r.attempt_id
JOIN billing_usageline l ON l.record_id = r.id AND l.occurred_at = r.occurred_at
WHERE {ROW} AND r.kind IN ('usage', 'correction')
  AND a.state = 'captured' AND (a.settled_at AT TIME ZONE 'UTC')::date = (r.occurred_at AT TIME ZONE 'UTC')::date + 1
GROUP BY 1, 2, 3, 4
"""

# Every price that our books ever had for the account's models, per unit.
PRICES = """
SELECT DISTINCT p.model, p.meter, p.processing, p.unit_price / p.per FROM billing_pricerow p
WHERE p.provider = %(provider)s AND p.book IN ('list', 'cost')
"""

# Who called an account, and which models: what was refused or free counts too.
CALLERS = """
SELECT DISTINCT a.tenant_id, a.model FROM billing_attempt a
WHERE a.provider = %(provider)s AND a.occurred_at >= %(starts_at)s AND a.occurred_at < %(ends_at)s
"""
RECENT = timedelta(days=30)


def covered_days(provider: str, *, first: date, last: date) -> set[date]:
    """The days of a span that a report of the account covers, with costs or without."""
    spans = CostReport.objects.filter(
        provider=provider, first_day__lte=last, last_day__gte=first
    ).values_list("first_day", "last_day")
    return {
        starts + timedelta(days=n)
        for starts, ends in spans
        for n in range((ends - starts).days + 1)
        if first <= starts + timedelta(days=n) <= last
    }


def model_names(provider: str) -> ModelNames:
    """The account's models as its last report knew them."""
    last = CostReport.objects.filter(provider=provider).order_by("-fetched_at", "-pk").first()
    return ModelNames(last.model_names if last else {})


def read_sides(provider: str, *, days: Iterable[date]) -> tuple[dict[Key, Cell], Evidence]:
    """Both sides of each day, model and meter, and what besides the figures helps to name a difference."""
    days = sorted(days)
    if not days:
        return {}, Evidence()
    names = model_names(provider)
    lines, elsewhere = _lines(provider, days)
    parts = _fold_tools(_ours(provider, days, names), lines)
    meters: dict[ModelDay, set[str]] = defaultdict(set)
    for day, model, meter in (*parts, *lines):
        meters[day, model].add(meter)

    def placed(key: Key) -> Key:
        return key[0], key[1], known_meter(key[2], meters[key[:2]])

    at_parts: dict[Key, dict[str, Side]] = defaultdict(lambda: defaultdict(Side))
    at_lines: dict[Key, list[Line]] = defaultdict(list)
    for key, sides in parts.items():
        for processing, side in sides.items():
            at_parts[placed(key)][processing] += side
    for key, found in lines.items():
        at_lines[placed(key)] += found
    cells = {
        key: Cell(
            _total(at_parts[key].values()),
            _total(Side(line.usd, line.quantity) for line in at_lines[key]),
        )
        for key in dict.fromkeys((*at_parts, *at_lines))
    }
    evidence = replace(
        _evidence(provider, days, names),
        lines={key: tuple(found) for key, found in at_lines.items()},
        parts={key: dict(found) for key, found in at_parts.items()},
        elsewhere={placed(key): side for key, side in elsewhere.items()},
        models=names.compared | {model for _, model, _ in parts},
    )
    return _with_reported_zeros(cells), evidence


def _evidence(provider: str, days: list[date], names: ModelNames) -> Evidence:
    """Calls without a bill, calls over midnight, and the prices that our books have."""
    span = _span(provider, days[0], days[-1])
    attempts: dict[ModelDay, UnreportedCalls] = {}
    for day, model, *counts in _rows(ATTEMPTS, span):
        key = day, names.of_ours(model)
        known = attempts.get(key, UnreportedCalls())
        attempts[key] = UnreportedCalls(
            known.unbooked + counts[0],
            known.unbooked_usd + counts[1],
            known.estimated + counts[2],
            known.estimated_usd + counts[3],
        )
    crossings: dict[Key, Side] = {}
    earlier = _span(provider, days[0] - timedelta(days=1), days[-1])
    for began, ended, model, meter, quantity, usd in _rows(CROSSINGS, earlier):
        for day, sign in ((began, -1), (ended, 1)):
            cell = day, names.of_ours(model), meter
            crossings[cell] = crossings.get(cell, Side()) + Side(sign * usd, sign * quantity)
    prices: dict[tuple[str, str], set[Decimal]] = defaultdict(set)
    rates: dict[tuple[str, str], dict[str, set[Decimal]]] = defaultdict(lambda: defaultdict(set))
    for model, meter, processing, price in _rows(PRICES, span):
        place = names.of_ours(model), meter
        prices[place].add(price)
        rates[place][processing].add(price)
    return Evidence(
        attempts,
        crossings,
        {key: frozenset(found) for key, found in prices.items()},
        frozenset(days),
        rates={
            key: {each: frozenset(prices) for each, prices in found.items()} for key, found in rates.items()
        },
    )


def callers_of(provider: str, day: date) -> set[tuple[int, str]]:
    """The tenants that called an account on a day, each with the models it called, as they are compared."""
    names = model_names(provider)
    return {
        (tenant_id, names.of_ours(model)) for tenant_id, model in _rows(CALLERS, _span(provider, day, day))
    }


def recent_callers_of(provider: str, day: date) -> set[int]:
    """The tenants that called an account in the month before a day's end."""
    return {tenant_id for tenant_id, _ in _rows(CALLERS, _span(provider, day - RECENT, day))}


def _lines(provider: str, days: list[date]) -> tuple[dict[Key, list[Line]], dict[Key, Side]]:
    """The lines of the reports, and what they have in projects that are not the account's."""
    found: dict[Key, list[Line]] = defaultdict(list)
    elsewhere: dict[Key, Side] = {}
    lines = CostReportLine.objects.filter(provider=provider, day__in=days, superseded_at=None)
    columns = (
        *("day", "model", "meter", "line_item", "quantity", "amount_usd", "processing", "standing", "copies"),
    )
    for day, model, meter, line_item, quantity, usd, processing, standing, copies in lines.order_by(
        "pk"
    ).values_list(*columns):
        # a cost that says neither is compared under its own words
        key = day, model, meter if model or meter else line_item[:64]
        if standing == CostReportLine.Standing.ELSEWHERE:
            elsewhere[key] = elsewhere.get(key, Side()) + Side(usd, quantity)
        else:
            is_credit = standing == CostReportLine.Standing.CREDIT
            found[key].append(Line(usd, quantity, processing, copies, is_credit))
    return dict(found), elsewhere


def _ours(provider: str, days: list[date], names: ModelNames) -> dict[Key, dict[str, Side]]:
    """Our figures, by processing."""
    found: dict[Key, dict[str, Side]] = defaultdict(dict)
    for day, model, meter, processing, quantity, usd in _rows(OURS, _span(provider, days[0], days[-1])):
        if day in days:
            sides = found[day, names.of_ours(model), meter or ""]
            sides[processing] = sides.get(processing, Side()) + Side(usd, quantity)
    return {key: sides for key, sides in found.items() if not _total(sides.values()).is_nothing}


def _fold_tools(ours: Mapping[Key, Mapping[str, Side]], theirs: Iterable[Key]) -> dict[Key, dict[str, Side]]:
    """A provider that bills a tool without naming the model: ours is summed over the models too."""
    without_model = {(day, meter) for day, model, meter in theirs if not model and meter}
    folded: dict[Key, dict[str, Side]] = defaultdict(dict)
    for (day, model, meter), sides in ours.items():
        into = folded[(day, "", meter) if (day, meter) in without_model else (day, model, meter)]
        for processing, side in sides.items():
            into[processing] = into.get(processing, Side()) + side
    return dict(folded)


def _with_reported_zeros(cells: dict[Key, Cell]) -> dict[Key, Cell]:
    """Where a report has a model's quantities, a meter that it leaves out has none."""
    with_quantities = {key[:2] for key, cell in cells.items() if cell.theirs.quantity is not None}
    return {
        key: Cell(cell.ours, Side(cell.theirs.usd, Decimal(0)))
        if cell.theirs.is_nothing and key[:2] in with_quantities
        else cell
        for key, cell in cells.items()
    }


def _total(sides: Iterable[Side]) -> Side:
    total = Side()
    for side in sides:
        total += side
    return total


def _span(provider: str, first: date, last: date) -> dict[str, Any]:
    """The queries' `provider`, `starts_at` and `ends_at` (excluded), of UTC days."""
    return {
        "provider": provider,
        "starts_at": datetime.combine(first, time(), UTC),
        "ends_at": datetime.combine(last + timedelta(days=1), time(), UTC),
    }


def _rows(query: str, arguments: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, arguments)
        return list(cursor.fetchall())
