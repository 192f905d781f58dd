"""The value of a hit: the cost of the remembered answer's usage at today's list price.

Invariant: pure. Where today's book has no price for it any more, what it cost when it was new is taken.
"""

from decimal import Decimal

from billing.errors import ModelUnpriced, UnpricedMeter
from billing.prices.rating import input_tokens, output_tokens, rate
from caching.answers import CachedAnswer
from config.values import value_type
from llm.calls.call import Call


@value_type
class HitValue:
    """What was not bought."""

    list_cost_usd: Decimal
    input_tokens: int
    output_tokens: int


def of(call: Call, answer: CachedAnswer) -> HitValue:
    """The value of a remembered answer. Its `usage` holds the leaf meters that were billed when it was new."""
    meters = {name: int(quantity) for name, quantity in answer.usage.items()}
    try:
        rates = call.snapshot.prices.rates(answer.provider, answer.model, at=call.received_at)
        list_cost = rate(meters, rates).list_cost_usd
    except (ModelUnpriced, UnpricedMeter):
        list_cost = answer.list_cost_usd
    return HitValue(list_cost, input_tokens(meters), output_tokens(meters))
