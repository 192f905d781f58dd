"""What budgets and the ledger look at in a request: whose it is and what for.

Invariant: pure, and the only place where a request's dimensions are read: a call's, a batch line's, a budget question's.
"""

from collections.abc import Mapping

from billing.scopes import Dimensions
from tenants.snapshots.store import TenantFacts


def dimensions_of(
    tenant: TenantFacts,
    *,
    user: str = "",
    key: str = "",
    feature: str = "",
    tags: Mapping[str, str] | None = None,
    model: str = "",
    provider: str = "",
) -> Dimensions:
    """The dimensions of a request. Model and provider are empty until they are chosen."""
    known = tenant.users.get(user)
    return Dimensions(
        user=user,
        key=key,
        feature=feature,
        project=(tags or {}).get("project", ""),
        cost_center=known.cost_center if known else "",
        model=model,
        provider=provider,
    )
