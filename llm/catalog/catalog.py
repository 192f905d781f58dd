"""The models clients may ask for, as frozen facts in memory.

Invariant: pure data, built by `llm.catalog.loading`; the hot path reads nothing else about providers and models.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from llm.errors import ModelNotFound, ModelSwitchedOff
from llm.providers.target import Target

TIERS = ("simple", "standard", "complex")


@dataclass(frozen=True, slots=True)
class Catalog:
    """All active models by name: each at its first account, and all accounts of those that have several. `off` has those that
    were switched off, or whose every account was: they exist, and their fallbacks answer for them.
    """

    targets: Mapping[str, Target]
    accounts: Mapping[str, tuple[Target, ...]] = field(default_factory=lambda: MappingProxyType({}))
    off: Mapping[str, tuple[Target, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def find(self, model: str) -> Target:
        """Return the target of a model's name, or raise ModelNotFound, ModelSwitchedOff."""
        try:
            return self.targets[model]
        except KeyError:
            if model in self.off:
                raise ModelSwitchedOff(model) from None
            raise ModelNotFound(f"The model '{model}' does not exist here.", param="model") from None

    def answering(self, model: str) -> tuple[Target, ...]:
        """Who answers for a model's name: itself, or the fallbacks of one that is switched off. Raises as `find` does."""
        if model in self.off and (stand_ins := self.fallbacks_of(self.off[model][0])):
            return stand_ins
        return (self.find(model),)

    def fallbacks_of(self, target: Target) -> tuple[Target, ...]:
        """The active models that the operator declared as fallbacks of this one."""
        return tuple(self.targets[name] for name in target.fallbacks if name in self.targets)

    def accounts_of(self, target: Target) -> tuple[Target, ...]:
        """The same model at every account that serves it, the first account first."""
        return self.accounts.get(target.model, (target,))

    def of_tenant(self, tenant_id: int, *, own_only: bool) -> "Catalog":
        """What a tenant may call: a model at its own accounts where it has any, else at those that all share."""

        def theirs(accounts: tuple[Target, ...]) -> tuple[Target, ...]:
            own = tuple(account for account in accounts if account.owner == tenant_id)
            return own or tuple(account for account in accounts if account.owner is None and not own_only)

        return Catalog.of(
            {name: theirs(self.accounts.get(name, (first,))) for name, first in self.targets.items()},
            off={name: theirs(accounts) for name, accounts in self.off.items()},
        )

    @classmethod
    def of(
        cls,
        accounts: Mapping[str, tuple[Target, ...]],
        *,
        off: Mapping[str, tuple[Target, ...]] = MappingProxyType({}),
    ) -> "Catalog":
        """The catalog of models by name, each with its accounts; one without any is left out."""
        return cls(
            MappingProxyType({name: targets[0] for name, targets in accounts.items() if targets}),
            MappingProxyType({name: targets for name, targets in accounts.items() if len(targets) > 1}),
            MappingProxyType({name: targets for name, targets in off.items() if targets}),
        )

    def in_tier(self, tier: str) -> Iterator[Target]:
        """Yield the chat models that routing may choose for a tier."""
        return (
            target for target in self.targets.values() if target.tier == tier and target.model_kind == "chat"
        )

    def __iter__(self) -> Iterator[Target]:
        return iter(self.targets.values())
