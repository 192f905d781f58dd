"""What a key may ask for in a batch.

Invariant: pure; a model without a price in batches is not offered there, at any online price; nor is one at a kind of
provider that has no batches.
"""

from collections.abc import Callable
from datetime import datetime

from billing.errors import ModelUnpriced
from llm.catalog.snapshot import TenantSnapshot
from llm.errors import InvalidRequest
from llm.providers.target import Target
from tenants.errors import ModelNotAllowed


def offers(snapshot: TenantSnapshot, *, key_id: int, at: datetime) -> Callable[[str], Target]:
    """A look-up of models by name, which raises ModelNotFound, ModelNotAllowed, ModelUnpriced,
    or InvalidRequest where its provider has no batches."""
    found: dict[str, Target] = {}
    key = next((key for key in snapshot.tenant.keys.values() if key.id == key_id), None)

    def find(model: str) -> Target:
        if model in found:
            return found[model]
        target = snapshot.catalog.find(model)
        if key is None or not key.models.allow(model):
            raise ModelNotAllowed(f"The key of this batch may not use the model '{model}'.", param="model")
        if target.kind.batches is None:
            raise InvalidRequest(
                f"The model '{model}' is at a provider of kind {target.kind.name}, which has no batches.",
                param="model",
            )
        try:
            snapshot.prices.rates(target.provider, target.model, at=at, processing="batch")
        except ModelUnpriced:
            raise ModelUnpriced(f"The model '{model}' has no price in batches.", param="model") from None
        found[model] = target
        return target

    return find
