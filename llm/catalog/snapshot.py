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

    def __post_init__(self) -> None:
        object.__setattr__(self, "epoch", epoch_of(self.policy))

    @property
    def policy(self) -> Policy:
        return self.tenant.policy
