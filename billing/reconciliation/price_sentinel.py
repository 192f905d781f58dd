"""Watches the prices that bills imply: one that left the table is proposed as a price, and the operators are alerted.

Invariant: nothing is priced or booked here. A proposal waits in the room of price proposals; approved, the price counts since the
day that the bill has it, and the re-rating of what was billed since is proposed like that of any backdated price. The same price
of a meter is proposed once, also after it was rejected.
"""

import hashlib
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

import structlog
from django.db import transaction
from django.urls import NoReverseMatch, reverse

from billing.models import PriceProposal, PriceRow
from billing.notices import notify_operators
from billing.prices.book import SURCHARGE
from billing.prices.importing import SENTINEL, as_list_price
from billing.reconciliation.price_inference import PER, Departure, Interval, Rates, departures
from billing.reconciliation.rows import covered_days, model_names, read_sides

LOOKED_BACK: Final = timedelta(days=14)
MOST_DAYS_SHOWN: Final = 14
METRIC: Final = "price_left_table"
DAY: Final = timedelta(days=1)
log = structlog.get_logger(__name__)


def watch_prices(provider: str, *, last: date) -> list[PriceProposal]:
    """Look at the two weeks up to a day, as far as reports cover them; the new proposals."""
    days = covered_days(provider, first=last - LOOKED_BACK, last=last)
    if len(days) < 2:
        return []
    _, evidence = read_sides(provider, days=days)
    rows = _rows(provider)
    found = departures(evidence, _rates(provider, rows, days))
    proposed = [_propose(provider, one, rows) for one in found]
    return [one for one in proposed if one is not None]


def _rows(provider: str) -> list[PriceRow]:
    """The live rows that price what we pay: our own cost where there is one of a model's meter, else the list."""
    rows = PriceRow.objects.filter(
        provider=provider, superseded_at=None, tenant=None, book__in=(PriceRow.Book.LIST, PriceRow.Book.COST)
    ).order_by("pk")
    own = {(row.model, row.meter, row.processing) for row in rows if row.book == PriceRow.Book.COST}
    return [
        row
        for row in rows
        if (row.book == PriceRow.Book.COST) == ((row.model, row.meter, row.processing) in own)
    ]


def _rates(provider: str, rows: list[PriceRow], days: set[date]) -> Rates:
    """What a unit costs by the table, of each whole day: several rates where tiers, regions or the day itself have them."""
    names = model_names(provider)
    found: dict[tuple[date, str, str, str], set[Decimal]] = defaultdict(set)
    factors: dict[str, set[Decimal]] = defaultdict(lambda: {Decimal(1)})
    for row in rows:
        if row.meter == SURCHARGE:  # of a region: then our own mix says what is expected
            factors[row.model].add(row.unit_price / row.per)
    for row in rows:
        for day in days:
            starts = datetime.combine(day, time(), UTC)
            if row.valid_from < starts + DAY and (row.valid_to is None or row.valid_to > starts):
                prices = {row.unit_price / row.per * factor for factor in factors[row.model]}
                found[day, names.of_ours(row.model), row.meter, row.processing] |= prices
    return {key: frozenset(prices) for key, prices in found.items()}


@transaction.atomic
def _propose(provider: str, departure: Departure, rows: list[PriceRow]) -> PriceProposal | None:
    """Propose the price and alert the operators, unless it was done before; where the price is not known, only alert."""
    _alert(provider, departure)
    price, interval = departure.price, departure.interval
    if price is None or interval is None:
        return None
    names, since = model_names(provider), datetime.combine(departure.since, time(), UTC)
    changed = [
        row
        for row in rows
        if names.of_ours(row.model) == departure.model
        and (row.meter, row.processing) == (departure.meter, departure.processing)
        and row.valid_to is None
    ]
    identity = f"{provider} {departure.model} {departure.meter} {departure.processing} {price.normalize():f}"
    digest = hashlib.sha256(identity.encode()).hexdigest()
    if not changed or PriceProposal.objects.filter(source=SENTINEL, digest=digest).exists():
        return None
    diff = {
        "since": since.isoformat(),
        "rows": [{"price": row.pk, "unit_price": f"{price * row.per / PER:f}"} for row in changed],
        "changes": [
            {
                "text": identity,
                "old": as_list_price(row).to_json(),
                "new": {
                    **as_list_price(row).to_json(),
                    "unit_price": f"{price * row.per / PER:f}",
                    "valid_from": since.isoformat(),
                },
            }
            for row in changed
        ],
        "inferred": _as_json(departure, interval),
    }
    log.warning(
        "price_left_table", provider=provider, model=departure.model, meter=departure.meter, usd=str(price)
    )
    return PriceProposal.objects.create(source=SENTINEL, digest=digest, diff=diff)


def _alert(provider: str, departure: Departure) -> None:
    name = f"{provider}/{departure.model} {departure.meter} {departure.processing}"
    interval, last = departure.interval, departure.days[-1]
    if interval is None:
        factor = (departure.factor.low + departure.factor.high) / 2
        said = f"{factor:.4f} times what its rates make"
    else:
        said = (
            f"between {interval.low:.6f} and {interval.high:.6f} USD per million; the table has"
            f" {departure.known or 0:f}"
        )
    notify_operators(
        METRIC,
        f"The bills of {len(departure.days)} days since {departure.since} have {name} at {said}",
        subject=name[:200],
        window=str(departure.since),
        value=round(last.usd / last.quantity * PER, 9),
        threshold=round(departure.known or Decimal(0), 9),
        link=_link(),
    )


def _as_json(departure: Departure, interval: Interval) -> dict[str, Any]:
    """What speaks for the price: the interval, and each day's."""
    known = departure.known or Decimal(0)
    return {
        "low": f"{interval.low:.9f}",
        "high": f"{interval.high:.9f}",
        "days": [
            {
                "day": str(one.day),
                "quantity": f"{one.quantity.normalize():f}",
                "usd": f"{one.usd.normalize():f}",
                "low": f"{one.factor.low * known:.9f}",
                "high": f"{one.factor.high * known:.9f}",
            }
            for one in departure.days[-MOST_DAYS_SHOWN:]
        ],
    }


def _link() -> str:
    try:
        return reverse("admin:billing_priceproposal_changelist")
    except NoReverseMatch:  # a process without the admin's pages
        return ""
