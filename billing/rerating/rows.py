"""Rates past usage again at the prices known now.

Invariant: reads only. What was booked for a call is the net of its row and all its corrections, so a call whose
difference has been booked has none any more. A difference takes each changed line back and puts the new one in
its place: quantities cancel, costs differ by exactly the new price.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection

from billing.errors import InvalidUsage, ModelUnpriced, UnpricedMeter
from billing.prices.book import ONLINE, PriceBook, Rates
from billing.prices.rating import HOLD, Rated, RatedLine, rate
from billing.prices.savings import BATCH, NEGOTIATED, PROVIDER_CACHE, ROUTING, waterfall
from billing.usage.reading import meters_from_usage

FETCH = 1000
# Recalculated from the books; the others depend on what only the call itself knew.
RECALCULATED = (NEGOTIATED, BATCH, PROVIDER_CACHE)

FACTS = (
    *("id", "occurred_at", "tenant_id", "provider", "model", "processing", "service_tier", "region"),
    *("price_status", "usage_source"),
)

# Every bought call of a tenant in a span, with the net of all that was booked for it.
BOOKED = """
SELECT r.id, r.occurred_at, r.tenant_id, r.provider, r.model, r.processing, r.service_tier, r.region,
       newest.price_status, newest.usage_source, newest.raw_usage,
       net.list_cost, net.provider_cost, net.contracted_cost, net.billed_cost,
       coalesce(saving.steps, '{{}}')::text, coalesce(lines.lines, '[]')::text
FROM billing_usagerecord r
CROSS JOIN LATERAL (
    SELECT sum(c.list_cost) AS list_cost, sum(c.provider_cost) AS provider_cost,
           sum(c.contracted_cost) AS contracted_cost, sum(c.billed_cost) AS billed_cost
    FROM billing_usagerecord c
    WHERE c.tenant_id = r.tenant_id AND c.occurred_at = r.occurred_at AND c.attempt_id = r.attempt_id) net
CROSS JOIN LATERAL (
    SELECT c.price_status, c.usage_source, coalesce(c.raw_usage, r.raw_usage)::text AS raw_usage
    FROM billing_usagerecord c
    WHERE c.tenant_id = r.tenant_id AND c.occurred_at = r.occurred_at AND c.attempt_id = r.attempt_id
    ORDER BY c.recorded_at DESC, c.seq DESC LIMIT 1) newest
CROSS JOIN LATERAL (
    SELECT jsonb_object_agg(s.key, s.amount::text) AS steps FROM (
        SELECT e.key, sum(e.value::numeric) AS amount
        FROM billing_usagerecord c CROSS JOIN LATERAL jsonb_each_text(c.saving) e
        WHERE c.tenant_id = r.tenant_id AND c.occurred_at = r.occurred_at AND c.attempt_id = r.attempt_id
        GROUP BY e.key) s) saving
CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object(
        'meter', n.meter, 'quantity', n.quantity, 'per', n.per, 'price_id', n.price_id, 'unit_price', n.unit_price::text,
        'list_cost', n.list_cost::text, 'provider_cost', n.provider_cost::text,
        'contracted_cost', n.contracted_cost::text, 'billed_cost', n.billed_cost::text)
        ORDER BY n.meter, n.unit_price, n.price_id) AS lines
    FROM (SELECT l.meter, l.per, l.price_id, l.unit_price, sum(l.quantity)::bigint AS quantity,
                 sum(l.list_cost) AS list_cost, sum(l.provider_cost) AS provider_cost,
                 sum(l.contracted_cost) AS contracted_cost, sum(l.billed_cost) AS billed_cost
          FROM billing_usagerecord c
          JOIN billing_usageline l ON l.record_id = c.id AND l.occurred_at = c.occurred_at
          WHERE c.tenant_id = r.tenant_id AND c.occurred_at = r.occurred_at AND c.attempt_id = r.attempt_id
          GROUP BY 1, 2, 3, 4
          HAVING sum(l.quantity) <> 0 OR sum(l.list_cost) <> 0 OR sum(l.provider_cost) <> 0 OR sum(l.billed_cost) <> 0) n
    ) lines
WHERE r.tenant_id = %(tenant)s AND r.kind = 'usage' AND r.attempt_id IS NOT NULL AND {which}
ORDER BY r.occurred_at, r.id
"""
IN_SPAN = (
    "r.occurred_at >= %(starts_at)s AND r.occurred_at < %(ends_at)s"
    " AND (%(provider)s = '' OR r.provider = %(provider)s) AND (%(model)s = '' OR r.model = %(model)s)"
)
OF_RERATING = (
    "(r.id, r.occurred_at) IN (SELECT n.record_id, n.occurred_at FROM billing_reratingrow n"
    " WHERE n.rerating_id = %(rerating)s)"
)


@dataclass(frozen=True, slots=True)
class Booked:
    """What the ledger says of one call so far."""

    id: UUID
    occurred_at: datetime
    tenant_id: int
    provider: str
    model: str
    processing: str
    service_tier: str
    region: str
    price_status: str
    usage_source: str
    raw_usage: Mapping[str, Any] | None
    list_cost: Decimal
    provider_cost: Decimal
    contracted_cost: Decimal
    billed_cost: Decimal
    saving: Mapping[str, Decimal]
    lines: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class RatingDifference:
    """What a correction would book for one call."""

    record_id: UUID
    occurred_at: datetime
    tenant_id: int
    provider: str
    model: str
    list_delta: Decimal
    provider_delta: Decimal
    contracted_delta: Decimal
    billed_delta: Decimal
    saving: dict[str, str]
    lines: list[dict[str, Any]]

    def canonical(self) -> str:
        """The same text for the same difference."""
        return json.dumps(asdict(self), sort_keys=True, default=str)


class CannotRate(Exception):
    """The books cannot rate this call: it was billed as a lump, or its model has no price."""


def booked(tenant_id: int, *, which: str, **arguments: Any) -> Iterator[Booked]:
    """The bought calls of a tenant that `which` (IN_SPAN or OF_RERATING) selects. Streams; needs a transaction."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(BOOKED.format(which=which), {"tenant": tenant_id, **arguments})
        while rows := cursor.fetchmany(FETCH):
            for *facts, raw_usage, listed, provider, contracted, billed, saving, lines in rows:
                yield Booked(
                    **dict(zip(FACTS, facts, strict=True)),
                    raw_usage=json.loads(raw_usage) if raw_usage else None,
                    list_cost=listed,
                    provider_cost=provider,
                    contracted_cost=contracted,
                    billed_cost=billed,
                    saving={name: Decimal(amount) for name, amount in json.loads(saving).items()},
                    lines=tuple(json.loads(lines)),
                )


def difference_of(call: Booked, book: PriceBook) -> RatingDifference | None:
    """What the books make of a call now, against what was booked; None if that is the same. Raises CannotRate."""
    try:
        meters = _meters(call)
        rates = _rates(call, book, call.processing)
        rated = rate(meters, rates)
    except (ModelUnpriced, UnpricedMeter, InvalidUsage) as error:
        raise CannotRate(str(error)) from error
    lines = _changed_lines(call, rated)
    if not lines:
        return None
    list_cost, saving = _saving(call, meters, rated, rates, book)
    changes = {
        name: saving.get(name, Decimal(0)) - call.saving.get(name, Decimal(0))
        for name in {*saving, *call.saving}
    }
    return RatingDifference(
        record_id=call.id,
        occurred_at=call.occurred_at,
        tenant_id=call.tenant_id,
        provider=call.provider,
        model=call.model,
        list_delta=list_cost - call.list_cost,
        provider_delta=rated.provider_cost_usd - call.provider_cost,
        contracted_delta=rated.cost_usd - call.contracted_cost,
        billed_delta=rated.cost_usd - call.billed_cost,
        saving={name: f"{amount:f}" for name, amount in sorted(changes.items()) if amount},
        lines=lines,
    )


def _meters(call: Booked) -> dict[str, int]:
    """The call's meters: those it was billed by; of one that had no price, those of the provider's usage."""
    if not any(line["meter"] == HOLD for line in call.lines):
        meters: dict[str, int] = {}
        for line in call.lines:
            meters[line["meter"]] = meters.get(line["meter"], 0) + line["quantity"]
        return meters
    if call.price_status != "unpriced" or call.usage_source != "provider" or not call.raw_usage:
        raise CannotRate("it was billed at its hold, and its usage is not known")
    usage = dict(call.raw_usage)
    if "prompt_tokens" in usage:
        return meters_from_usage("openai.chat", usage, context={})
    is_openai = "input_tokens_details" in usage
    return meters_from_usage("openai.responses" if is_openai else "anthropic.messages", usage, context={})


def _rates(call: Booked, book: PriceBook, processing: str) -> Rates:
    return book.rates(
        call.provider,
        call.model,
        at=call.occurred_at,
        processing=processing,
        service_tier=call.service_tier,
        region=call.region,
    )


def _changed_lines(call: Booked, rated: Rated) -> list[dict[str, Any]]:
    """The lines of changed meters, as UsageLine has them: the old ones taken back, then the new ones; amounts as text."""
    new = {line.meter: line for line in rated.lines}
    old: dict[str, list[Mapping[str, Any]]] = {}
    for line in call.lines:
        old.setdefault(line["meter"], []).append(line)
    changed = [
        meter
        for meter in {*new, *old}
        if [_costs_of_booked(line) for line in old.get(meter, ())]
        != ([_costs_of_rated(new[meter])] if meter in new else [])
    ]
    taken_back = [_taken_back(line) for line in call.lines if line["meter"] in changed]
    put_in = [_put_in(line) for line in rated.lines if line.meter in changed]
    return [{"line_no": number, **line} for number, line in enumerate((*taken_back, *put_in), 1)]


def _costs_of_booked(line: Mapping[str, Any]) -> tuple[object, ...]:
    names = ("list_cost", "provider_cost", "contracted_cost", "billed_cost")
    return line["quantity"], line["per"], *(Decimal(line[name]) for name in names)


def _costs_of_rated(line: RatedLine) -> tuple[object, ...]:
    return (
        line.quantity,
        line.per,
        line.list_cost_usd,
        line.provider_cost_usd,
        line.cost_usd,
        line.cost_usd,
    )


def _taken_back(line: Mapping[str, Any]) -> dict[str, Any]:
    names = ("list_cost", "provider_cost", "contracted_cost", "billed_cost")
    costs = {name: f"{-Decimal(line[name]):f}" for name in names}
    return {**line, "quantity": -line["quantity"], **costs}


def _put_in(line: RatedLine) -> dict[str, Any]:
    return {
        "meter": line.meter,
        "quantity": line.quantity,
        "per": line.per,
        "price_id": line.price_id,
        "unit_price": None if line.unit_price is None else f"{line.unit_price:f}",
        "list_cost": f"{line.list_cost_usd:f}",
        "provider_cost": f"{line.provider_cost_usd:f}",
        "contracted_cost": f"{line.cost_usd:f}",
        "billed_cost": f"{line.cost_usd:f}",
    }


def _saving(
    call: Booked, meters: Mapping[str, int], rated: Rated, rates: Rates, book: PriceBook
) -> tuple[Decimal, dict[str, Decimal]]:
    """The way from the list cost to what is paid, with the new prices; it adds up as it did.

    What compression took out is not known any more and stays as it was booked. With routing, the model that was
    not called costs what it did: the list cost stays, and routing saved so much more or less.
    """
    online = None
    if call.processing != ONLINE:
        try:
            online = _rates(call, book, ONLINE)
        except ModelUnpriced:
            online = None
    steps = waterfall(meters, paid=rates, online=online).steps
    kept = {name: amount for name, amount in call.saving.items() if name not in (*RECALCULATED, ROUTING)}
    saving = {**steps, **kept}
    list_cost = rated.cost_usd + sum(saving.values(), start=Decimal(0))
    if ROUTING in call.saving:
        saving[ROUTING] = call.list_cost - list_cost
        list_cost = call.list_cost
    return list_cost, saving
