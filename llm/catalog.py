"""The models clients may ask for, as frozen facts in memory.

Invariant: pure data, built by `llm.loading`; the hot path reads nothing else about providers and models.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from llm.errors import ModelNotFound

Kind = Literal["openai", "anthropic"]
ModelKind = Literal["chat", "embedding"]
TIERS = ("simple", "standard", "complex")


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one provider account: everything a call to it needs.

    `model` is the name clients use, `upstream` the provider's; `context_window` counts tokens in and out together;
    `max_output_tokens` is 0 where nobody declared it.
    """

    model: str
    provider: str
    kind: Kind
    base_url: str
    api_key: str = field(repr=False)
    upstream: str
    model_kind: ModelKind = "chat"
    tier: str = ""
    context_window: int = 128_000
    max_output_tokens: int = 0
    capabilities: frozenset[str] = frozenset()
    fallbacks: tuple[str, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    timeouts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    weight: float = 1.0
    created_at: int = 0
    owner: int | None = None  # the tenant whose own account it is

    @property
    def output_bound(self) -> int:
        """No answer is longer: the model's maximum, or its whole window where that is not declared."""
        return self.max_output_tokens or self.context_window

    @property
    def tokenizer(self) -> str:
        """The name to count tokens by. Ours may be anything, and so may an account's prefix before Claude's."""
        if self.kind != "anthropic":
            return self.upstream
        return self.upstream[self.upstream.find("claude") :] if "claude" in self.upstream else "claude"


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
