"""What a key may ask for in a batch.

Invariant: pure; a model without a price in batches is not offered there, whatever it costs online.
"""

from collections.abc import Callable
from datetime import datetime

from billing.outcomes import ModelUnpriced
from llm.catalog.snapshot import TenantSnapshot
from llm.providers.target import Target
from tenants.outcomes import ModelNotAllowed


def offers(snapshot: TenantSnapshot, *, key_id: int, at: datetime) -> Callable[[str], Target]:
    """A look-up of models by name, which raises ModelNotFound, ModelNotAllowed or ModelUnpriced."""
    found: dict[str, Target] = {}
    key = next((key for key in snapshot.tenant.keys.values() if key.id == key_id), None)

    def find(model: str) -> Target:
        if model in found:
            return found[model]
        target = snapshot.catalog.find(model)
        if key is None or not key.models.allow(model):
            raise ModelNotAllowed(f"The key of this batch may not use the model '{model}'.", param="model")
        try:
            snapshot.prices.rates(target.provider, target.model, at=at, processing="batch")
        except ModelUnpriced:
            raise ModelUnpriced(f"The model '{model}' has no price in batches.", param="model") from None
        found[model] = target
        return target

    return find
