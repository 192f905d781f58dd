"""Explains usage that could not be read: such calls are booked at a bound until a person or a new release explains them.

Invariant: nothing booked is changed; the difference is a correction, once for a call, in the month that is open.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from billing.errors import ModelUnpriced, UnpricedMeter
from billing.ledger.settlements import SETTLE, Settlement, settle_parameters
from billing.models import Attempt, UsageRecord
from billing.prices.book import load_price_book
from billing.prices.rating import HOLD, Rated, output_tokens, rate, rate_bound
from billing.prices.savings import GATEWAY_CACHE, OUR_OWN, waterfall
from billing.usage.certainty import Certainty, KnownFacts, used
from billing.usage.reading import Meters, reasoning_tokens
from billing.usage.served import Served, served

BATCH = 500
EXPLAINED = "explained"  # the meter of what a person says it cost in addition to what was read

log = structlog.get_logger(__name__)


def is_open(record: UsageRecord) -> bool:
    """Whether it is not explained yet."""
    is_unread = record.certainty == UsageRecord.Certainty.UNREAD and record.kind == UsageRecord.Kind.USAGE
    return is_unread and Attempt.objects.filter(pk=record.pk, state=Attempt.State.ESTIMATED).exists()


def explain(
    record: UsageRecord, *, amount_usd: Decimal, explanation: str, acting_user: AbstractBaseUser
) -> Decimal:
    """Settle a call at its real cost, and return the difference that was booked. Raises ValidationError."""
    if amount_usd < 0:
        raise ValidationError({"amount_usd": "a call costs no less than nothing"})
    if not explanation.strip():
        raise ValidationError({"explanation": "say what it was, for later readers of the ledger"})
    meters: Meters = (record.reading or {}).get("meters") or {}
    try:
        rates = _served(record, (record.reading or {}).get("context") or {}).rates
        rated = rate_bound(meters, rates, least_usd=amount_usd)
    except ModelUnpriced:
        rated = Rated.bound(amount_usd)
    if rated.cost_usd != amount_usd:
        rated = Rated.bound(amount_usd)
    lines = tuple(replace(line, meter=EXPLAINED) if line.meter == HOLD else line for line in rated.lines)
    rated = replace(
        rated, lines=tuple(line for line in lines if line.meter != EXPLAINED or line.cost_usd), is_lump=False
    )
    reason = f"{explanation.strip()} ({acting_user.get_username()})"
    return _settle(record, rated, meters, usage_source="manual", reason=reason)


def read_again(record: UsageRecord) -> bool:
    """Read the block as this release reads it; whether that settled the call."""
    reading = record.reading or {}
    if not record.raw_usage or "evidence" not in reading or not is_open(record):
        return False
    context = reading["context"]
    try:
        how = _served(record, context)
        what = used(
            reading["api"], record.raw_usage, context=context, evidence=KnownFacts(**reading["evidence"])
        ).doubted(how.doubts)
        if what.certainty is not Certainty.EXACT:
            return False
        rated = rate(what.meters, how.rates)
    except (ModelUnpriced, UnpricedMeter):
        return False
    _settle(record, rated, what.meters, usage_source="provider", reason="read again", how=how)
    return True


def read_all_again() -> int:
    """Read all open blocks again. Returns how many calls that settled. May be repeated.

    What only lacks a price is left to re-rating, which a person approves.
    """
    settled = sum(read_again(record) for record in _unread())
    if settled:
        log.warning("unread_usage_settled", calls=settled)
    return settled


def _unread() -> Iterator[UsageRecord]:
    """All that is open, in the order of their ids."""
    records = UsageRecord.objects.filter(
        certainty=UsageRecord.Certainty.UNREAD, kind=UsageRecord.Kind.USAGE, price_status="priced"
    )
    open_ones = records.filter(attempt__state=Attempt.State.ESTIMATED)
    last: UUID | None = None
    while True:
        batch = list((open_ones.filter(id__gt=last) if last else open_ones).order_by("id")[:BATCH])
        yield from batch
        if len(batch) < BATCH:
            return
        last = batch[-1].id


def _settle(
    record: UsageRecord,
    rated: Rated,
    meters: Meters,
    *,
    usage_source: str,
    reason: str,
    how: Served | None = None,
) -> Decimal:
    list_cost, saving = rated.cost_usd, {}
    if record.cache_state in OUR_OWN:  # without us there would have been no such request
        list_cost, saving = Decimal(0), {GATEWAY_CACHE: -rated.cost_usd}
    elif how is not None:
        fall = waterfall(meters, paid=how.rates)
        list_cost, saving = fall.list_cost_usd, fall.steps
    settlement = Settlement(
        attempt_id=record.pk,  # a row of usage has the id of its attempt
        usage_source=usage_source,
        rated=rated,
        meters=meters,
        list_cost_usd=list_cost,
        saving=saving,
        raw_usage=record.raw_usage,
        upstream_id=record.upstream_id,
        reasoning_tokens=min(reasoning_tokens(record.raw_usage), output_tokens(meters)),
        reason=reason,
        processing=how.rates.processing if how else record.processing,
        service_tier=how.service_tier if how else record.service_tier,
        region=how.region if how else record.region,
        certainty=Certainty.EXACT,
    )
    with transaction.atomic():
        if not Attempt.objects.select_for_update().filter(pk=record.pk, state=Attempt.State.ESTIMATED):
            raise ValidationError("There is nothing to explain: what this call cost is known.")
        with connection.cursor() as cursor:
            cursor.execute(SETTLE, settle_parameters([settlement]))
    difference: Decimal = rated.cost_usd - record.billed_cost
    return difference


def _served(record: UsageRecord, context: Mapping[str, Any]) -> Served:
    """How it was served, by today's book at the prices of its day."""
    book, asked = load_price_book(record.tenant_id), Attempt.objects.get(pk=record.pk).processing
    rates = book.rates(record.provider, record.model, at=record.occurred_at, processing=asked)
    return served(book, rates, at=record.occurred_at, context=context)
