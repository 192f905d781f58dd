"""What a key may ask for in a batch, and which lane a model takes there.

Invariant: pure; a model without a price is not offered. One whose account has no batch API, or that has no price in batches, is
answered in real time, at its price in real time.
"""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

from billing.errors import ModelUnpriced, UnpricedMeter
from billing.estimates.costs import expected_cost
from billing.prices.book import PriceBook
from llm.catalog.catalog import TIERS
from llm.catalog.snapshot import TenantSnapshot
from llm.errors import ModelNotFound
from llm.providers.target import Target
from llm.routing.facts import AUTO
from tenants.errors import ModelNotAllowed
from tenants.principal import ModelGlobs

NOTHING: Final = ModelGlobs(())

Lane = Literal["batch", "online"]  # also the processing by whose prices its lines are rated


def offers(snapshot: TenantSnapshot, *, key_id: int, at: datetime) -> Callable[[str], Target]:
    """A look-up of models by name, which raises ModelNotFound, ModelNotAllowed or ModelUnpriced. Of `auto` it finds one of the
    models that may be chosen, the dearest: what a line of it costs at most is estimated by that."""
    found: dict[str, Target] = {}
    allowed = next((key.models for key in snapshot.tenant.keys.values() if key.id == key_id), NOTHING)

    def find(model: str) -> Target:
        if model not in found:
            found[model] = (
                _dearest(snapshot, model, allowed=allowed, at=at)
                if is_automatic(model)
                else _named(snapshot, model, allowed=allowed, at=at)
            )
        return found[model]

    return find


def is_automatic(model: str) -> bool:
    """Whether this name leaves the choice of the model to the gateway."""
    return model.partition(":")[0] == AUTO


def lane_at(target: Target, *, prices: PriceBook, at: datetime) -> Lane:
    """How lines reach a model at an account: by its batch API where it has one and a price there, else in real time."""
    if target.kind.batches is None:
        return "online"
    try:
        prices.rates(target.provider, target.model, at=at, processing="batch")
    except ModelUnpriced:
        return "online"
    return "batch"


def _named(snapshot: TenantSnapshot, model: str, *, allowed: ModelGlobs, at: datetime) -> Target:
    target = snapshot.catalog.find(model)
    if not allowed.allow(model):
        raise ModelNotAllowed(f"The key of this batch may not use the model '{model}'.", param="model")
    snapshot.prices.rates(target.provider, target.model, at=at)
    return target


def _dearest(snapshot: TenantSnapshot, model: str, *, allowed: ModelGlobs, at: datetime) -> Target:
    _, _, tier = model.partition(":")
    if tier and tier not in TIERS:
        raise ModelNotFound(f"'{model}' is not a tier: {', '.join(TIERS)}.", param="model")
    offered = [target for name in TIERS for target in snapshot.catalog.in_tier(name)]
    usable = [target for target in offered if allowed.allow(target.model)]
    priced = [target for target in usable if _output_price(snapshot, target, at=at) is not None]
    if not offered:
        raise ModelNotFound("No model is offered for automatic routing here.", param="model")
    if not usable:
        raise ModelNotAllowed("The key of this batch may use no model that may be chosen.", param="model")
    if not priced:
        raise ModelUnpriced("No model that may be chosen has a price.", param="model")
    return max(priced, key=lambda target: _output_price(snapshot, target, at=at) or 0)


def _output_price(snapshot: TenantSnapshot, target: Target, *, at: datetime) -> Decimal | None:
    try:
        rates = snapshot.prices.rates(target.provider, target.model, at=at)
        return expected_cost(rates, input_tokens=0, output_tokens=1_000)
    except (ModelUnpriced, UnpricedMeter):
        return None
