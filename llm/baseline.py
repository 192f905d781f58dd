"""What a call would have cost without us, and which of our doings saved what.

Invariant: list cost less the signed savings is what was paid, to the last digit; see docs/decisions/0005 for `auto`.
"""

from decimal import Decimal

from billing.outcomes import ModelUnpriced, UnpricedMeter
from billing.prices import Rates
from billing.rating import Rated, rate
from billing.savings import uncached
from llm.attempt import Attempt
from llm.call import Call
from llm.choosing import is_automatic

Savings = dict[str, Decimal]


def baseline_cost(
    call: Call, attempt: Attempt, meters: dict[str, int], rated: Rated
) -> tuple[Decimal, Savings]:
    """The list cost of a settled call, and the savings that lead from it to what was paid."""
    paid = rated.cost_usd
    plain = _cost(uncached(meters), attempt.rates, otherwise=paid)
    saving = {"provider_cache": plain - paid}
    removed = (call.tokens_before_compression or 0) - (call.tokens_after_compression or 0)
    whole = uncached(meters)
    if removed > 0:
        whole = whole | {"input": whole.get("input", 0) + removed}
    uncompressed = _cost(whole, attempt.rates, otherwise=plain)
    saving["compression"] = uncompressed - plain
    baseline = _baseline_rates(call, attempt)
    listed = uncompressed if baseline is None else _cost(whole, baseline, otherwise=uncompressed)
    saving["routing"] = listed - uncompressed
    return listed, {name: amount for name, amount in saving.items() if amount}


def _cost(meters: dict[str, int], rates: Rates, *, otherwise: Decimal) -> Decimal:
    """The cost of meters; `otherwise` where the model has no such meter (an image model has no text input, say)."""
    try:
        return rate(meters, rates).cost_usd
    except UnpricedMeter:
        return otherwise


def _baseline_rates(call: Call, attempt: Attempt) -> Rates | None:
    """The rates of the model that would have answered without us; None if it is the one that did."""
    name = call.facts.model if not is_automatic(call) else _baseline_model(call)
    target = call.snapshot.catalog.targets.get(name)
    if target is None or target.model == attempt.target.model:
        return None
    try:
        return call.snapshot.prices.rates(target.provider, target.model, at=call.received_at)
    except ModelUnpriced:
        return None


def _baseline_model(call: Call) -> str:
    """The tenant's own baseline, else the cheapest capable model of the complex tier that routing looked at."""
    if call.policy.routing.baseline_model:
        return call.policy.routing.baseline_model
    considered = call.route.considered if call.route else ()
    capable = [
        one
        for one in considered
        if one.target.tier == "complex" and one.cost_usd is not None and not one.rejected
    ]
    return min(capable, key=lambda one: (one.cost_usd, one.target.model)).target.model if capable else ""
