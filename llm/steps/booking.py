"""What is booked of one answer: its reported usage, compared with what we know of the call, and what that costs.

Invariant: pure. What cannot be read or believed is booked at a bound and shown to a person; nothing is booked at zero
because it has no price.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final

import structlog

from billing.errors import ModelUnpriced, UnpricedMeter
from billing.prices.book import PriceBook, Rates
from billing.prices.rating import Rated, rate, rate_bound
from billing.usage.blocks.anthropic import is_same_model
from billing.usage.certainty import Certainty, KnownFacts, Used, used
from config.values import value_type
from llm.catalog.catalog import Catalog
from llm.providers.target import Target
from llm.tokens.counting import count_text
from llm.wire import Body, Exchange

_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# tools that the client runs: the provider only asks for them (those of Anthropic need no type)
_TOOLS_OF_CLIENTS: Final = frozenset({"function", "custom", "None"})

log = structlog.get_logger(__name__)


@value_type
class Held:
    """What was held for the call: the most that it was expected to come to."""

    usd: Decimal
    input_tokens: int
    output_tokens: int


def used_of(
    exchange: Exchange,
    target: Target,
    usage: Mapping[str, Any],
    *,
    context: Mapping[str, Any],
    produced: str,
    held: Held,
    n: int = 1,
    is_whole: bool = True,
) -> Used:
    """What a call has used. `produced` is what came that a provider bills as output, `n` how many answers were asked for."""
    evidence = KnownFacts(
        input_tokens=held.input_tokens,
        output_tokens=count_text(produced, target.tokenizer) if produced else 0,
        asked_output_tokens=max(held.output_tokens, _limit_sent(exchange.body) * n),
        context_window=target.context_window,
        is_whole=is_whole,
        has_server_tools=_has_server_tools(exchange.body),
        held_output_tokens=held.output_tokens,
    )
    what = used(
        exchange.upstream.api, usage, context={"model": target.upstream, **context}, evidence=evidence
    )
    if what.certainty is Certainty.UNREAD:
        log.error("unread_usage", provider=target.provider, model=target.model, reason=what.reason)
    return what


def rated_of(what: Used, rates: Rates, *, held: Held, highest: Rates) -> Rated:
    """What that costs. Usage that cannot be true costs the hold. Usage without a price, or not read, costs the most that it
    can, at the highest rates that the call was held at."""
    if what.is_beyond:
        return Rated.bound(held.usd)
    bound = partial(rate_bound, what.meters, rates)
    if what.certainty is Certainty.UNREAD:
        most = rate_bound(what.meters, highest, least_usd=held.usd, unread_tokens=what.unread_tokens)
        return bound(least_usd=most.cost_usd, unread_tokens=what.unread_tokens)
    try:
        return rate(what.meters, rates)
    except UnpricedMeter as error:
        log.error("unpriced_meter", model=rates.model, reason=str(error))
        return bound(least_usd=held.usd)


def with_models(
    rates: Rates, meters: Mapping[str, int], *, catalog: Catalog, book: PriceBook, at: datetime
) -> Rates:
    """The rates with those of the other models whose iterations were billed (`output@name`), as far as the same account
    has them."""
    names = {mark for meter in meters if (mark := meter.partition("@")[2])}
    if not names:
        return rates
    found = dict(rates.meters)
    for name in names:
        for target in catalog:
            if target.provider == rates.provider and is_same_model(target.upstream, name):
                try:
                    others = book.rates(target.provider, target.model, at=at, processing=rates.processing)
                except ModelUnpriced:
                    continue
                found |= {f"{meter}@{name}": tiers for meter, tiers in others.meters.items()}
    return replace(rates, meters=found)


def _limit_sent(body: Body) -> int:
    """The limit of output that the provider was sent."""
    return max((body[name] for name in _LIMITS if isinstance(body.get(name), int)), default=0)


def _has_server_tools(body: Body) -> bool:
    """Whether the provider may run tools by itself, and so read the conversation several times."""
    tools = body.get("tools")
    if not isinstance(tools, list):
        return False
    return not {str(tool.get("type")) for tool in tools if isinstance(tool, dict)} <= _TOOLS_OF_CLIENTS
