"""What an answered line comes to: its meters at the price in batches, and what that saved.

Invariant: pure. The bill comes from the provider's usage; list price less the signed savings is what is paid.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import structlog

from billing import savings
from billing.estimates import hold_for
from billing.ledger import Settlement
from billing.outcomes import InvalidUsage, ModelUnpriced, UnpricedMeter
from billing.rating import Rated, meters_from_usage, rate
from billing.savings import uncached
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
    meters, source = _meters(item, reply, batch=batch, target=target, exchange=exchange)
    rates = snapshot.prices.rates(target.provider, target.model, at=at, processing="batch")
    try:
        rated = rate(meters, rates)
    except UnpricedMeter:  # no price in batches for what was cached: it costs what uncached input costs
        rated = _dearest(meters, rates)
    list_cost, saving = _against_list(meters, rated.cost_usd, target=target, snapshot=snapshot, batch=batch)
    settlement = Settlement(
        attempt_id=item.attempt_id,
        tenant_id=batch.tenant_id,
        occurred_at=at,
        timezone=snapshot.tenant.timezone,
        usage_source=source,
        reason="",
        rated=rated,
        meters=meters,
        list_cost_usd=list_cost,
        saving=saving,
        raw_usage=usage or None,
        upstream_id=str(reply.get("id") or ""),
        reasoning_tokens=0,
        processing="batch",
    )
    input_tokens, output_tokens = savings.input_tokens(meters), savings.output_tokens(meters)
    block = {
        "request_id": str(item.request_id),
        "model": target.model,
        "provider": target.provider,
        "processing": "batch",
        "tokens": {"input": input_tokens, "output": output_tokens},
        "cost_usd": f"{rated.cost_usd:.12f}",
        "list_cost_usd": f"{list_cost:.12f}",
        "saved_usd": f"{list_cost - rated.cost_usd:.12f}",
    }
    return Billed(
        settlement=settlement,
        answer=exchange.client.with_purser(exchange.answer(reply), block),
        cost_usd=rated.cost_usd,
        list_cost_usd=list_cost,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )


def _meters(
    item: BatchItem, reply: dict[str, Any], *, batch: Batch, target: Target, exchange: Exchange
) -> tuple[dict[str, int], str]:
    upstream = exchange.upstream
    usage = upstream.usage(reply)
    if usage:
        try:
            return meters_from_usage(upstream.api, usage, context=upstream.usage_context(reply)), "provider"
        except InvalidUsage as error:
            log.warning("invalid_usage", request_id=str(item.request_id), reason=str(error))
    produced = upstream.answer_text(reply)
    counted = {
        "input": count_input(exchange.client, item.body, target.model),
        "output": count_text(produced, target.model) if produced else 0,
    }
    return {name: quantity for name, quantity in counted.items() if quantity}, "estimated"


def _dearest(meters: dict[str, int], rates: Any) -> Rated:
    plain = uncached(meters)
    try:
        return rate(plain, rates)
    except UnpricedMeter as error:
        log.error("unpriced_meter", reason=str(error))
        known = hold_for(
            rates,
            input_tokens=savings.input_tokens(meters),
            max_output_tokens=savings.output_tokens(meters),
            n=1,
        )
        return Rated.lump(known)


def _against_list(
    meters: dict[str, int], paid: Decimal, *, target: Target, snapshot: TenantSnapshot, batch: Batch
) -> tuple[Decimal, dict[str, Decimal]]:
    """What the same tokens cost online without any cache, and the savings that lead from there to what is
    paid."""
    try:
        online = snapshot.prices.rates(target.provider, target.model, at=batch.created_at)
        listed = rate(uncached(meters), online).cost_usd
    except (ModelUnpriced, UnpricedMeter):
        return paid, {}
    try:
        cached = rate(meters, online).cost_usd
    except UnpricedMeter:
        cached = listed
    saving = {"provider_cache": listed - cached, "batch": cached - paid}
    return listed, {name: amount for name, amount in saving.items() if amount}
