"""What budgets and the ledger look at in a request: whose it is and what for.

Invariant: pure, and the only place where a request's dimensions are read: a call's, a batch line's, a budget question's.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from billing.scopes import Dimensions
from tenants.snapshots.store import TenantFacts

NO_TRACE: Final[Mapping[str, str]] = MappingProxyType({})


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
    trace: Mapping[str, str] = NO_TRACE,
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
        **trace,
    }


def trace_of(*, session: str, run: str, agent: Mapping[str, str]) -> dict[str, str]:
    """Where in whose work a request was made, by the names of the ledger's columns; only what is known."""
    trace = {
        "session": session,
        "run": run,
        "agent": agent.get("id", ""),
        "parent_agent": agent.get("parent", ""),
        "agent_type": agent.get("type", ""),
    }
    return {name: value for name, value in trace.items() if value}
