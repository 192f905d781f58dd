"""The savings waterfall: what a call would have cost without us, and which of our steps saved how much.

Invariant: pure. Each step re-rates the same call with one more of our measures, so the signed steps lead from
the list cost to what is paid and add up to the last digit, with either sign.
"""

from collections.abc import Mapping
from decimal import Decimal

from billing.errors import UnpricedMeter
from billing.prices.book import Rates
from billing.prices.rating import Rated, input_tokens, output_tokens, rate
from config.values import value_type

__all__ = ["Waterfall", "input_tokens", "output_tokens", "uncached", "waterfall"]

ROUTING, COMPRESSION, PROVIDER_CACHE = "routing", "compression", "provider_cache"
GATEWAY_CACHE, BATCH, NEGOTIATED = "gateway_cache", "batch", "negotiated"
# The steps from the list cost to what is paid, in their order.
STEPS = (ROUTING, COMPRESSION, PROVIDER_CACHE, GATEWAY_CACHE, BATCH, NEGOTIATED)
# What hedges, fallbacks and repairs cost more: without us a request is one call. No row has it; sums have.
FURTHER_CALLS = "further_calls"
# The gateway's own calls for its caches, by cache state: no client's request, and a cost of GATEWAY_CACHE.
REFRESH = "refresh"  # an answer bought ahead of time
OUR_OWN = frozenset({"check", "embed", "judge", REFRESH})
# The reason in the row of a hit whose answer would have expired without that.
EARNED = "refreshed ahead of time"
# What a cached token would have been without the provider's cache.
UNCACHED = {
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_5m": "input",
    "cache_write_1h": "input",
    "cache_read_audio": "input_audio",
    "cache_read_image": "input_image",
}


@value_type
class Waterfall:
    """From the list cost to what was paid: `list_cost_usd` less the sum of `steps` is `paid_usd`."""

    list_cost_usd: Decimal
    paid_usd: Decimal
    steps: dict[str, Decimal]


def uncached(meters: Mapping[str, int]) -> dict[str, int]:
    """The same call with nothing cached: reads and writes are plain input. Writes may have cost extra."""
    plain: dict[str, int] = {}
    for meter, quantity in meters.items():
        name = UNCACHED.get(meter, meter)
        plain[name] = plain.get(name, 0) + quantity
    return plain


def waterfall(
    meters: Mapping[str, int],
    *,
    paid: Rates,
    online: Rates | None = None,
    asked: Rates | None = None,
    removed_input_tokens: int = 0,
    rated: Rated | None = None,
) -> Waterfall:
    """The savings of one bought call. Raises UnpricedMeter if the call itself has no price.

    `paid` are the rates it is billed at (`rated`, if it was rated already), `online` those of the same model outside a
    batch, `asked` those of the model that would have answered without routing; `removed_input_tokens` is what compression
    took out. A step that the other rates cannot price (they lack the meter) saves nothing rather than something made up.
    """
    rated = rated or rate(meters, paid)
    steps = {NEGOTIATED: rated.list_cost_usd - rated.cost_usd}
    cost = rated.list_cost_usd
    immediate = paid
    if online is not None:
        immediate = online
        cost = _step(steps, BATCH, cost, meters, immediate)
    plain = meters
    if not meters.keys().isdisjoint(UNCACHED):
        plain = uncached(meters)
        cost = _step(steps, PROVIDER_CACHE, cost, plain, immediate)
    if removed_input_tokens > 0:
        plain = {**plain, "input": plain.get("input", 0) + removed_input_tokens}
        cost = _step(steps, COMPRESSION, cost, plain, immediate)
    if asked is not None:
        cost = _step(steps, ROUTING, cost, plain, asked)
    return Waterfall(cost, rated.cost_usd, {name: amount for name, amount in steps.items() if amount})


def _step(
    steps: dict[str, Decimal], name: str, cost: Decimal, meters: Mapping[str, int], rates: Rates
) -> Decimal:
    """Book the difference to the cost without this doing, and return that cost."""
    try:
        without = rate(meters, rates).list_cost_usd
    except UnpricedMeter:
        return cost
    steps[name] = without - cost
    return without
