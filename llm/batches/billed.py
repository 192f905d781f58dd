"""What an answered line comes to: its meters at the price in batches, and what that saved.

Invariant: pure. The bill comes from the provider's usage; list price less the signed savings is what is paid.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import structlog

from billing.estimates import hold_for
from billing.ledger import Settlement
from billing.outcomes import InvalidUsage, ModelUnpriced, UnpricedMeter
from billing.prices import Rates
from billing.rating import Rated, input_tokens, meters_from_usage, output_tokens, rate
from billing.savings import Waterfall, waterfall
from billing.usage import reasoning_tokens
from llm.catalog import Target
from llm.models import Batch, BatchItem
from llm.snapshot import TenantSnapshot
from llm.token_counts import count_input
from llm.tokens import count_text
from llm.wire import Exchange

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Billed:
    """A line's settlement, and its answer in the client's protocol with what it cost in it."""

    settlement: Settlement
    answer: dict[str, Any]
    cost_usd: Decimal
    list_cost_usd: Decimal
    input_tokens: int
    output_tokens: int


def bill(
    item: BatchItem,
    reply: dict[str, Any],
    *,
    batch: Batch,
    target: Target,
    exchange: Exchange,
    snapshot: TenantSnapshot,
) -> Billed:
    """Rate a provider's answer to a line. Where no usable usage came it is counted, and the row says
    `estimated`."""
    at = batch.created_at
    upstream = exchange.upstream
    usage = upstream.usage(reply)
    meters, source = _meters(item, reply, target=target, exchange=exchange)
    rates = snapshot.prices.rates(target.provider, target.model, at=at, processing="batch")
    rated, fall = _rate(meters, rates, online=_online_rates(snapshot, target=target, at=at))
    settlement = Settlement(
        attempt_id=item.attempt_id,
        usage_source=source,
        rated=rated,
        meters=meters,
        list_cost_usd=fall.list_cost_usd,
        saving=fall.steps,
        raw_usage=usage or None,
        upstream_id=str(reply.get("id") or ""),
        reasoning_tokens=reasoning_tokens(usage),
        processing="batch",
    )
    tokens = {"input": input_tokens(meters), "output": output_tokens(meters)}
    block = {
        "request_id": str(item.request_id),
        "model": target.model,
        "provider": target.provider,
        "processing": "batch",
        "tokens": tokens,
        "cost_usd": f"{rated.cost_usd:.12f}",
        "list_cost_usd": f"{fall.list_cost_usd:.12f}",
        "saved_usd": f"{fall.list_cost_usd - rated.cost_usd:.12f}",
    }
    return Billed(
        settlement=settlement,
        answer=exchange.client.with_purser(exchange.answer(reply), block),
        cost_usd=rated.cost_usd,
        list_cost_usd=fall.list_cost_usd,
        input_tokens=tokens["input"],
        output_tokens=tokens["output"],
    )


def _meters(
    item: BatchItem, reply: dict[str, Any], *, target: Target, exchange: Exchange
) -> tuple[dict[str, int], str]:
    upstream = exchange.upstream
    if usage := upstream.usage(reply):
        try:
            return meters_from_usage(upstream.api, usage, context=upstream.usage_context(reply)), "provider"
        except InvalidUsage as error:
            log.warning("invalid_usage", request_id=str(item.request_id), reason=str(error))
    produced = upstream.produced_text(reply)
    counted = {
        "input": count_input(exchange.client, item.body, target.tokenizer),
        "output": count_text(produced, target.tokenizer) if produced else 0,
    }
    return {name: quantity for name, quantity in counted.items() if quantity}, "estimated"


def _rate(meters: dict[str, int], rates: Rates, *, online: Rates | None) -> tuple[Rated, Waterfall]:
    """The cost and the way there from the list; a meter without a price is billed at the line's bound."""
    try:
        return rate(meters, rates), waterfall(meters, paid=rates, online=online)
    except UnpricedMeter as error:
        log.error("unpriced_meter", model=rates.model, reason=str(error))
        bound = hold_for(rates, input_tokens=input_tokens(meters), max_output_tokens=output_tokens(meters))
        return Rated.lump(bound), Waterfall(bound, bound, {})


def _online_rates(snapshot: TenantSnapshot, *, target: Target, at: datetime) -> Rates | None:
    try:
        return snapshot.prices.rates(target.provider, target.model, at=at)
    except ModelUnpriced:
        return None
