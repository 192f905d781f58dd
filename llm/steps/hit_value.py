"""The value of a hit: what the remembered call would have cost without us, at today's prices.

Invariant: pure. It is the waterfall of the remembered call, whose last step is ours: what would have been paid. Where today's
book has no price for it any more, what it cost when it was new is taken.
"""

from decimal import Decimal

from billing.errors import ModelUnpriced, UnpricedMeter
from billing.prices.rating import input_tokens, output_tokens
from billing.prices.savings import GATEWAY_CACHE, waterfall
from caching.answers import CachedAnswer
from config.values import value_type
from llm.calls.call import Call
from llm.steps.baseline import baseline_model, rates_of_baseline


@value_type
class HitValue:
    """What was not bought, and by which of our steps: `saving` is USD by kind."""

    saving: dict[str, Decimal]
    input_tokens: int
    output_tokens: int

    @property
    def list_cost_usd(self) -> Decimal:
        """All of it: nothing is paid for a hit."""
        return sum(self.saving.values(), Decimal(0))


def of(call: Call, answer: CachedAnswer) -> HitValue:
    """The value of a remembered answer. Its `usage` holds the leaf meters that were billed when it was new."""
    meters = {name: int(quantity) for name, quantity in answer.usage.items()}
    # a hit is found before anything is routed: what would have answered `auto` is known from the call that was bought
    baseline = baseline_model(call) or answer.baseline_model
    try:
        rates = call.snapshot.prices.rates(answer.provider, answer.model, at=call.received_at)
        way = waterfall(
            meters,
            paid=rates,
            asked=rates_of_baseline(call, baseline, answered_by=answer.model),
            removed_input_tokens=answer.removed_input_tokens,
        )
    except (ModelUnpriced, UnpricedMeter):
        saving = {GATEWAY_CACHE: answer.list_cost_usd}
    else:
        saving = way.steps | {GATEWAY_CACHE: way.paid_usd}
    return HitValue(saving, input_tokens(meters), output_tokens(meters))
