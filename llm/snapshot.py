"""What a request needs to know about its tenant, in one immutable value.

Invariant: a snapshot is never edited, only replaced; a request keeps the one it started with to its end.
"""

from dataclasses import dataclass

from billing.budgets import BudgetFacts
from billing.prices import PriceBook
from llm.catalog import Catalog
from tenants.policy import Policy
from tenants.snapshot import TenantFacts


@dataclass(frozen=True, slots=True)
class TenantSnapshot:
    """A tenant with its policy and budgets, and the catalog and prices that it shares with the others."""

    tenant: TenantFacts
    budgets: tuple[BudgetFacts, ...]
    catalog: Catalog
    prices: PriceBook

    @property
    def policy(self) -> Policy:
        return self.tenant.policy
