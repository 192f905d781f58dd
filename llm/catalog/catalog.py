"""The models clients may ask for, as frozen facts in memory.

Invariant: pure data, built by `llm.catalog.loading`; the hot path reads nothing else about providers and models.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from llm.errors import ModelNotFound
from llm.providers.target import Target

TIERS = ("simple", "standard", "complex")


@dataclass(frozen=True, slots=True)
class Catalog:
    """All active models by name: each at its first account, and all accounts of those that have several."""

    targets: Mapping[str, Target]
    accounts: Mapping[str, tuple[Target, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def find(self, model: str) -> Target:
        """Return the target of a model's name, or raise ModelNotFound."""
        try:
            return self.targets[model]
        except KeyError:
            raise ModelNotFound(f"The model '{model}' does not exist here.", param="model") from None

    def accounts_of(self, target: Target) -> tuple[Target, ...]:
        """The same model at every account that serves it, the first account first."""
        return self.accounts.get(target.model, (target,))

    def of_tenant(self, tenant_id: int, *, own_only: bool) -> "Catalog":
        """What a tenant may call: a model at its own accounts where it has any, else at those that all share."""
        chosen = {}
        for name, first in self.targets.items():
            accounts = self.accounts.get(name, (first,))
            own = tuple(account for account in accounts if account.owner == tenant_id)
            chosen[name] = own or tuple(
                account for account in accounts if account.owner is None and not own_only
            )
        return Catalog.of(chosen)

    @classmethod
    def of(cls, accounts: Mapping[str, tuple[Target, ...]]) -> "Catalog":
        """The catalog of models by name, each with its accounts; one without any is left out."""
        return cls(
            MappingProxyType({name: targets[0] for name, targets in accounts.items() if targets}),
            MappingProxyType({name: targets for name, targets in accounts.items() if len(targets) > 1}),
        )

    def in_tier(self, tier: str) -> Iterator[Target]:
        """Yield the chat models that routing may choose for a tier."""
        return (
            target for target in self.targets.values() if target.tier == tier and target.model_kind == "chat"
        )

    def __iter__(self) -> Iterator[Target]:
        return iter(self.targets.values())
