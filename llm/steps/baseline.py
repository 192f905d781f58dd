"""What a call would have cost without us, and which of our steps saved how much.

Invariant: list cost less the signed savings is what was paid, to the last digit; docs/decisions/0005 says what a call
with model `auto` is compared with.
"""

from decimal import Decimal

from billing.errors import ModelUnpriced
from billing.prices.book import Rates
from billing.prices.rating import Rated
from billing.prices.savings import GATEWAY_CACHE, Waterfall, waterfall
from llm.calls.call import Call
from llm.providers.target import Target
from llm.steps.choosing import is_automatic


def savings_of(
    call: Call, answering: Target, meters: dict[str, int], rated: Rated, *, rates: Rates
) -> Waterfall:
    """The way from the list cost of a settled call, rated at these rates, to what was paid for it."""
    if call.is_our_own:  # without us there would be no such call: it is what the cache's savings cost
        return Waterfall(Decimal(0), rated.cost_usd, {GATEWAY_CACHE: -rated.cost_usd})
    if rated.is_bound:
        return Waterfall(rated.cost_usd, rated.cost_usd, {})
    asked = rates_of_baseline(call, baseline_model(call), answered_by=answering.model)
    return waterfall(
        meters,
        paid=rates,
        asked=asked,
        removed_input_tokens=removed_input_tokens(call),
        rated=rated,
    )


def removed_input_tokens(call: Call) -> int:
    """What compression took out of the prompt."""
    return max(0, (call.tokens_before_compression or 0) - (call.tokens_after_compression or 0))


def rates_of_baseline(call: Call, name: str, *, answered_by: str) -> Rates | None:
    """The rates of the model that would have answered without us; None if it is the one that did, or has no price."""
    target = call.snapshot.catalog.targets.get(name)
    if target is None or target.model == answered_by:
        return None
    try:
        return call.snapshot.prices.rates(target.provider, target.model, at=call.received_at)
    except ModelUnpriced:
        return None


def baseline_model(call: Call) -> str:
    """The model that was named; of `auto` the tenant's own baseline, else the cheapest capable model of the complex tier
    that routing considered. Empty where routing has considered none."""
    if not is_automatic(call):
        return call.facts.model
    if call.policy.routing.baseline_model:
        return call.policy.routing.baseline_model
    considered = call.route.considered if call.route else ()
    capable = [
        (one.cost_usd, one.target.model)
        for one in considered
        if one.target.tier == "complex" and one.cost_usd is not None and not one.rejected
    ]
    return min(capable)[1] if capable else ""
