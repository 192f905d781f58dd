"""What a request needs to know about its tenant, in one immutable value.

Invariant: a snapshot is never edited, only replaced; a request keeps the one it started with to its end.
"""

import time
from dataclasses import dataclass, field

from billing.budgets.windows import BudgetFacts
from billing.estimates.book import EstimateBook
from billing.prices.book import PriceBook
from caching.scope import epoch_of
from llm.catalog.catalog import Catalog
from tenants.allocation import WITH_BUDGETS
from tenants.policy import Policy
from tenants.snapshots.store import TenantFacts


@dataclass(frozen=True, slots=True)
class TenantSnapshot:
    """A tenant with its policy, budgets and prices, and the catalog and the lessons about estimates that all share."""

    tenant: TenantFacts
    budgets: tuple[BudgetFacts, ...]
    catalog: Catalog
    prices: PriceBook
    estimates: EstimateBook = field(default_factory=EstimateBook)
    built_at: float = field(default_factory=time.monotonic)
    epoch: str = field(init=False)  # of the answers that its policy leads to
    fixed_tags: frozenset[str] = field(
        init=False
    )  # that a caller may not choose where somebody else names them

    def __post_init__(self) -> None:
        object.__setattr__(self, "epoch", epoch_of(self.policy))
        # by the name of another cost centre a call would leave the hard budget of its own
        guarded = {budget.scope for budget in self.budgets if budget.mode == "hard"}.intersection(
            WITH_BUDGETS
        )
        object.__setattr__(self, "fixed_tags", guarded.union(self.policy.allocation.fixed))

    @property
    def policy(self) -> Policy:
        return self.tenant.policy
