"""Turns what a provider says it used into what the ledger books.

Invariant: the bill comes from the provider's usage; only where none arrived is it counted from what was produced, and
then the row says `estimated`. What cannot be read or believed is booked at a bound. Every attempt is settled once,
even if the client is gone.
"""

from typing import Any

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from billing.ledger import settlements
from billing.ledger.settlements import Settlement
from billing.prices.rating import input_tokens, output_tokens
from billing.prices.savings import PROVIDER_CACHE
from billing.usage.certainty import Certainty, Used
from billing.usage.reading import reasoning_tokens
from billing.usage.served import served
from llm.calls.call import Call
from llm.calls.settled_cost import SettledCost
from llm.kept import references
from llm.kept import responses as kept_responses
from llm.steps.baseline import savings_of
from llm.steps.booking import Held, rated_of, used_of, with_models
from llm.steps.planning import PlannedAttempt
from llm.wire import Body, StreamMeter
from llm.wire.references import ids_made_by

log = structlog.get_logger(__name__)


async def capture(call: Call, attempt: PlannedAttempt, reply: Body, *, upstream_id: str) -> SettledCost:
    """Settle an attempt that was answered whole."""
    upstream = attempt.exchange.upstream
    outcome = await _settle(
        call,
        attempt,
        usage=upstream.usage(reply),
        context=upstream.usage_context(reply),
        produced=upstream.produced_text(reply),
        upstream_id=upstream_id,
    )
    await _keep(call, attempt, reply, outcome)
    return outcome


async def capture_stream(
    call: Call,
    attempt: PlannedAttempt,
    meter: StreamMeter,
    *,
    upstream_id: str,
    reason: str = "",
    is_whole: bool = False,
) -> SettledCost:
    """Settle an attempt whose answer was streamed, as far as it came. `is_whole`: the provider ended the stream, be it
    without a finish."""
    response = meter.response()
    outcome = await _settle(
        call,
        attempt,
        usage=meter.usage or {},
        is_whole=(is_whole or meter.has_ended) and (meter.is_usage_final or not meter.usage),
        context=attempt.exchange.upstream.usage_context(response),
        produced=meter.text(),
        upstream_id=upstream_id,
        reason=reason,
    )
    await _keep(call, attempt, response, outcome)
    return outcome


async def estimate(call: Call, attempt: PlannedAttempt, *, reason: str) -> SettledCost:
    """Settle an attempt whose answer was lost on its way: the provider may bill all that was held, so that is booked."""
    bound = {"input": attempt.input_tokens, "output": attempt.held_output_tokens}
    return await _settle(
        call, attempt, usage={}, context={}, produced="", upstream_id="", reason=reason, bound=bound
    )


async def _settle(
    call: Call,
    attempt: PlannedAttempt,
    *,
    usage: dict[str, Any],
    context: dict[str, Any],
    produced: str,
    upstream_id: str,
    is_whole: bool = True,
    reason: str = "",
    bound: dict[str, int] | None = None,
) -> SettledCost:
    target, prices = attempt.target, call.snapshot.prices
    asked_region = attempt.exchange.body.get("inference_geo")
    how = served(prices, attempt.rates, at=call.received_at, context=context, asked_region=asked_region)
    rates = how.rates
    held = Held(attempt.hold_usd, attempt.input_tokens, attempt.held_output_tokens)
    if bound is None:
        what = used_of(
            attempt.exchange,
            target,
            usage,
            context=context,
            produced=produced,
            held=held,
            n=call.facts.n,
            is_whole=is_whole,
        ).doubted(how.doubts)
        rates = with_models(
            rates, what.meters, catalog=call.snapshot.catalog, book=prices, at=call.received_at
        )
    else:
        meters = {name: quantity for name, quantity in bound.items() if quantity}
        what = Used(meters, Certainty.ESTIMATED)
    meters, rated = what.meters, rated_of(what, rates, held=held, highest=attempt.held_rates)
    source = "provider" if what.certainty is Certainty.EXACT else "estimated"
    if what.certainty is Certainty.UNREAD or not reason:
        reason = "; ".join(filter(None, (reason, what.reason)))
    if rated.unpriced:
        reason = "; ".join(filter(None, (reason, f"no price for {', '.join(rated.unpriced)}")))
    waterfall = savings_of(call, attempt.target, meters, rated, rates=rates)
    settlement = Settlement(
        attempt_id=attempt.id,
        usage_source=source,
        reason=reason,
        rated=rated,
        meters=meters,
        list_cost_usd=waterfall.list_cost_usd,
        saving=waterfall.steps,
        raw_usage=usage or None,
        upstream_id=upstream_id,
        reasoning_tokens=min(reasoning_tokens(usage), output_tokens(meters)),
        processing=rates.processing,
        service_tier=how.service_tier,
        region=how.region,
        certainty=what.certainty,
        reading=what.to_reading() if what.certainty is Certainty.UNREAD or rated.is_lump else None,
    )
    call.balances = await settlements.settle(settlement) or call.balances
    outcome = SettledCost(
        model=attempt.target.model,
        provider=attempt.target.provider,
        cost_usd=rated.cost_usd,
        list_cost_usd=waterfall.list_cost_usd,
        own_list_cost_usd=rated.list_cost_usd,
        input_tokens=input_tokens(meters),
        output_tokens=output_tokens(meters),
        saving=waterfall.steps,
        meters=meters,
    )
    call.booked.append(outcome)
    _note_provider_cache(call, attempt, outcome)
    call.receipt.note_attempt(
        attempt.number,
        attempt_id=str(attempt.id),
        model=attempt.target.model,
        provider=attempt.target.provider,
        usage_source=source,
        certainty=settlement.how_certain,
        reason=reason or None,
        meters=meters,
        lines=[line.to_receipt() for line in rated.lines],
        cost_usd=f"{rated.cost_usd:f}",
        upstream_id=upstream_id,
    )
    return outcome


async def _keep(call: Call, attempt: PlannedAttempt, response: Body, outcome: SettledCost) -> None:
    """Write down whose a response is that its provider keeps, and what was made in it. A failure costs the client that
    it can go on from there, not more."""
    if attempt.exchange.translation:
        return
    is_response = attempt.exchange.client.api == "openai.responses"
    ids = ids_made_by(response, are_items_kept=is_response and call.body.get("store") is not False)
    try:
        if ids:
            await references.keep(call.principal.tenant_id, ids, provider=outcome.provider)
        if not is_response:
            return
        await kept_responses.keep(
            call.principal.tenant_id,
            request=call.body,
            response=response,
            provider=outcome.provider,
            model=outcome.model,
            context_tokens=outcome.input_tokens + outcome.output_tokens,
        )
    except (DatabaseError, PoolTimeout) as error:
        log.warning("response_not_kept", attempt=str(attempt.id), error=type(error).__name__)


def _note_provider_cache(call: Call, attempt: PlannedAttempt, outcome: SettledCost) -> None:
    """What the provider's own prompt cache did, what it saved (to write costs extra), and who asked for it."""
    read, written = (
        sum(quantity for meter, quantity in outcome.meters.items() if meter.startswith(prefix))
        for prefix in ("cache_read", "cache_write")
    )
    if not (read or written or attempt.is_marked_by_us):
        return
    call.receipt.note(
        "provider_cache",
        "read" if read else "written" if written else "unused",
        attempt=attempt.number,
        marked_by="us" if attempt.is_marked_by_us else "client or provider",
        tokens_read=read,
        tokens_written=written,
        saved_usd=f"{outcome.saving.get(PROVIDER_CACHE, 0):f}",
    )
