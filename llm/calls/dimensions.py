"""What budgets and the ledger look at in a request: whose it is and what for.

Invariant: pure, and the only place where a request's dimensions are read: a call's, a batch line's, a budget question's.
"""

from collections.abc import Mapping
from typing import Any

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


def ledger_dims(
    dimensions: Dimensions,
    *,
    tags: Mapping[str, str],
    endpoint: str,
    model_asked: str,
    tier: str,
    cache_state: str,
) -> dict[str, Any]:
    """What a request's ledger rows say besides its attempts' own columns, by the names of the ledger's columns."""
    return {
        "project": dimensions.project,
        "cost_center": dimensions.cost_center,
        "tags": dict(tags),
        "endpoint": endpoint,
        "model_asked": model_asked[:128],
        "tier": tier,
        "cache_state": cache_state,
    }
