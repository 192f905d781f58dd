"""What an answered line costs: its meters at the price in batches, and what that saved.

Invariant: pure. The bill comes from the provider's usage; list price less the signed savings is what is paid.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.errors import ModelUnpriced
from billing.ledger.settlements import Settlement
from billing.prices.book import Rates
from billing.prices.rating import Rated, input_tokens, output_tokens
from billing.prices.savings import Waterfall, waterfall
from billing.usage.certainty import Certainty
from billing.usage.reading import reasoning_tokens
from billing.usage.served import served
from llm.catalog.snapshot import TenantSnapshot
from llm.models import BatchItem
from llm.providers.target import Target
from llm.steps.booking import Held, rated_of, used_of, with_models
from llm.wire import Exchange


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
    at: datetime,
    target: Target,
    exchange: Exchange,
    snapshot: TenantSnapshot,
    held: Held,
) -> Billed:
    """Rate a provider's answer to a line at the prices of when it was held. Where no usable usage came it is counted, and
    the row says `estimated`."""
    upstream = exchange.upstream
    usage = upstream.usage(reply)
    rates = snapshot.prices.rates(target.provider, target.model, at=at, processing="batch")
    context = upstream.usage_context(reply)
    asked_region = exchange.body.get("inference_geo")
    how = served(snapshot.prices, rates, at=at, context=context, asked_region=asked_region)
    what = used_of(
        exchange,
        target,
        usage,
        context=context,
        produced=upstream.produced_text(reply),
        held=held,
        n=exchange.client.facts(item.body).n,
    )
    what = what.doubted(how.doubts)
    meters = what.meters
    rates = with_models(how.rates, meters, catalog=snapshot.catalog, book=snapshot.prices, at=at)
    rated = rated_of(what, rates, held=held, highest=rates)
    fall = _fall(rated, meters, rates, online=_online_rates(snapshot, target=target, at=at))
    settlement = Settlement(
        attempt_id=item.attempt_id,
        usage_source="provider" if what.certainty is Certainty.EXACT else "estimated",
        reason=what.reason or (f"no price for {', '.join(rated.unpriced)}" if rated.unpriced else ""),
        rated=rated,
        meters=meters,
        list_cost_usd=fall.list_cost_usd,
        saving=fall.steps,
        raw_usage=usage or None,
        upstream_id=str(reply.get("id") or ""),
        reasoning_tokens=min(reasoning_tokens(usage), output_tokens(meters)),
        processing=rates.processing,
        service_tier=how.service_tier,
        region=how.region,
        certainty=what.certainty,
        reading=what.to_reading() if what.certainty is Certainty.UNREAD or rated.is_lump else None,
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
        answer=exchange.client.with_purser(_answer_of(exchange, reply), block),
        cost_usd=rated.cost_usd,
        list_cost_usd=fall.list_cost_usd,
        input_tokens=tokens["input"],
        output_tokens=tokens["output"],
    )


def _fall(rated: Rated, meters: dict[str, int], rates: Rates, *, online: Rates | None) -> Waterfall:
    """The way from the list to what is paid; of a bound, the saving is not known."""
    if rated.is_bound:
        return Waterfall(rated.cost_usd, rated.cost_usd, {})
    return waterfall(meters, paid=rates, online=online)


def _answer_of(exchange: Exchange, reply: dict[str, Any]) -> dict[str, Any]:
    """The answer in the client's protocol; what cannot be translated is billed all the same."""
    try:
        return exchange.answer(reply)
    except (AttributeError, KeyError, TypeError, ValueError):
        return {"error": {"code": "provider_error", "message": "The answer is not as its protocol says."}}


def _online_rates(snapshot: TenantSnapshot, *, target: Target, at: datetime) -> Rates | None:
    try:
        return snapshot.prices.rates(target.provider, target.model, at=at)
    except ModelUnpriced:
        return None
