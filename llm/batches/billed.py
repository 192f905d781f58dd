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
from billing.prices.savings import GATEWAY_CACHE, OUR_OWN, Waterfall, waterfall
from billing.usage.certainty import Certainty
from billing.usage.reading import reasoning_tokens
from billing.usage.served import served
from caching.answers import CachedAnswer
from llm.calls.answers import usd
from llm.calls.call import Call
from llm.catalog.snapshot import TenantSnapshot
from llm.models import BatchItem
from llm.providers.target import Target
from llm.steps.baseline import rates_of_baseline, removed_input_tokens
from llm.steps.booking import Held, rated_of, used_of, with_models
from llm.wire import Exchange


@dataclass(frozen=True, slots=True)
class Billed:
    """A line's settlement, its answer in the client's protocol with what it cost in it, and the same answer as the caches keep
    it, if it may be reused."""

    call: Call
    settlement: Settlement
    answer: dict[str, Any]
    remembered: CachedAnswer
    may_be_reused: bool
    cost_usd: Decimal
    list_cost_usd: Decimal
    input_tokens: int
    output_tokens: int


def bill(
    item: BatchItem,
    reply: dict[str, Any],
    *,
    call: Call,
    at: datetime,
    target: Target,
    exchange: Exchange,
    held: Held,
) -> Billed:
    """Rate a provider's answer to a line at the prices of when it was held. Where no usable usage came it is counted, and
    the row says `estimated`."""
    upstream, snapshot = exchange.upstream, call.snapshot
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
        n=call.facts.n,
    )
    what = what.doubted(how.doubts)
    meters = what.meters
    rates = with_models(how.rates, meters, catalog=snapshot.catalog, book=snapshot.prices, at=at)
    rated = rated_of(what, rates, held=held, highest=rates)
    baseline = str(item.plan.get("baseline_model", ""))
    is_own = item.plan.get("cache_state") in OUR_OWN
    fall = _fall(
        rated,
        meters,
        rates,
        online=_online_rates(snapshot, target=target, at=at),
        asked=rates_of_baseline(call, baseline, answered_by=target.model),
        removed_input_tokens=removed_input_tokens(call),
        is_own=is_own,
    )
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
    tokens = {
        "input": input_tokens(meters),
        "output": output_tokens(meters),
        "prompt_before_compression": call.tokens_before_compression,
        "prompt_after_compression": call.tokens_after_compression,
    }
    block = {
        "request_id": str(item.request_id),
        "cache": "miss" if item.exact_key else "bypass",
        "model": target.model,
        "provider": target.provider,
        "processing": "batch",
        "route": {name: item.plan.get(name) for name in ("tier", "reason")} if item.plan else None,
        "tokens": tokens,
        "cost_usd": usd(rated.cost_usd),
        "list_cost_usd": usd(fall.list_cost_usd),
        "saved_usd": usd(fall.list_cost_usd - rated.cost_usd),
    }
    answer, is_translated = _answer_of(exchange, reply)
    return Billed(
        call=call,
        settlement=settlement,
        answer=exchange.client.with_purser(answer, block),
        remembered=CachedAnswer(
            body=answer,
            endpoint=call.endpoint,
            model=target.model,
            provider=target.provider,
            tier=target.tier,
            usage=dict(meters),
            cost_usd=rated.cost_usd,
            list_cost_usd=rated.list_cost_usd,
            baseline_model=baseline,
            removed_input_tokens=removed_input_tokens(call),
            request_id=str(item.request_id),
        ),
        # as of a live call, which is not remembered under budget pressure, or where it is not complete
        may_be_reused=is_translated
        and not item.plan.get("is_under_pressure")
        and call.wire.is_complete(answer),
        cost_usd=rated.cost_usd,
        list_cost_usd=fall.list_cost_usd,
        input_tokens=input_tokens(meters),
        output_tokens=output_tokens(meters),
    )


def _fall(
    rated: Rated,
    meters: dict[str, int],
    rates: Rates,
    *,
    online: Rates | None,
    asked: Rates | None,
    removed_input_tokens: int,
    is_own: bool,
) -> Waterfall:
    """The way from the list to what is paid; of a bound, the saving is not known."""
    if is_own:  # without us there would be no such call: it is what the cache's savings cost
        return Waterfall(Decimal(0), rated.cost_usd, {GATEWAY_CACHE: -rated.cost_usd})
    if rated.is_bound:
        return Waterfall(rated.cost_usd, rated.cost_usd, {})
    return waterfall(
        meters, paid=rates, online=online, asked=asked, removed_input_tokens=removed_input_tokens, rated=rated
    )


def _answer_of(exchange: Exchange, reply: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The answer in the client's protocol, and whether it could be translated; what cannot be is billed all the same."""
    try:
        return exchange.answer(reply), True
    except (AttributeError, KeyError, TypeError, ValueError):
        error = {"code": "provider_error", "message": "The answer is not as its protocol says."}
        return {"error": error}, False


def _online_rates(snapshot: TenantSnapshot, *, target: Target, at: datetime) -> Rates | None:
    try:
        return snapshot.prices.rates(target.provider, target.model, at=at)
    except ModelUnpriced:
        return None
