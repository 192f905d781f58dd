"""What budgets and the ledger look at in a request: whose it is and what for.

Invariant: pure, and the only place where a request's dimensions are read: a call's, a batch line's, a budget question's.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from billing.scopes import Dimensions
from llm.catalog.snapshot import TenantSnapshot
from tenants.allocation import (
    COST_CENTER,
    KEY,
    NO_TAGS,
    REQUEST,
    RUN,
    TEAM,
    TENANT,
    USER,
    Allocation,
    Tags,
    resolve,
)
from tenants.errors import ClientError
from tenants.snapshots.store import TenantFacts

NO_TRACE: Final[Mapping[str, str]] = MappingProxyType({})
TAGS_HEADER: Final = "x-purser-tags"


class TagNeeded(ClientError):
    """The call lacks a tag that its tenant requires, and nobody names it for the call."""

    status, code, type = 400, "invalid_request", "invalid_request_error"


def allocation_of(
    snapshot: TenantSnapshot,
    *,
    user: str = "",
    key_tags: Tags = NO_TAGS,
    tags: Tags = NO_TAGS,
    run_tags: Tags = NO_TAGS,
) -> Allocation:
    """Whose cost a request is: its tags, each by the nearest that names it."""
    policy, known = snapshot.policy.allocation, snapshot.tenant.users.get(user)
    return resolve(
        (
            (REQUEST, tags),
            (RUN, run_tags),
            (KEY, key_tags),
            (USER, known.tags if known else NO_TAGS),
            (TEAM, policy.teams.get(known.team, NO_TAGS) if known else NO_TAGS),
            (TENANT, policy.tags),
        ),
        fixed=snapshot.fixed_tags,
        required=policy.required,
    )


def team_of(tenant: TenantFacts, user: str) -> str:
    """With whom a user shares what a team may share: the cost centre that the tenant has given, whatever a request says."""
    if (known := tenant.users.get(user)) is None:
        return ""
    teams = tenant.policy.allocation.teams
    return known.cost_center or teams.get(known.team, NO_TAGS).get(COST_CENTER, "")


def require_tags(snapshot: TenantSnapshot, allocation: Allocation) -> None:
    """Raise TagNeeded where the tenant refuses calls without a tag that it requires."""
    if not allocation.missing or snapshot.policy.allocation.missing != "refuse":
        return
    first, named = allocation.missing[0], ", ".join(f"'{name}'" for name in allocation.missing)
    raise TagNeeded(
        f"Every call of the tenant '{snapshot.tenant.slug}' needs {_tags(allocation.missing)} {named}: send the header"
        f" '{TAGS_HEADER}: {first}=...', or have it set on the key, the user, the team or the tenant.",
        param=TAGS_HEADER,
        facts={"missing_tags": list(allocation.missing)},
    )


def described(allocation: Allocation) -> dict[str, Any]:
    """As receipts have it."""
    return {
        "tags": dict(allocation.tags),
        "tag_sources": dict(allocation.sources),
        "missing_tags": list(allocation.missing),
    }


def dimensions_of(
    allocation: Allocation,
    *,
    user: str = "",
    key: str = "",
    feature: str = "",
    model: str = "",
    provider: str = "",
) -> Dimensions:
    """The dimensions of a request. Model and provider are empty until they are chosen."""
    return Dimensions(
        user=user,
        key=key,
        feature=feature,
        project=allocation.project,
        cost_center=allocation.cost_center,
        model=model,
        provider=provider,
    )


def ledger_dims(
    allocation: Allocation,
    *,
    endpoint: str,
    model_asked: str,
    tier: str,
    cache_state: str,
    trace: Mapping[str, str] = NO_TRACE,
) -> dict[str, Any]:
    """What a request's ledger rows say besides its attempts' own columns, by the names of the ledger's columns."""
    return {
        "project": allocation.project,
        "cost_center": allocation.cost_center,
        "tags": allocation.kept,
        "missing_tags": ", ".join(allocation.missing),
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


def _tags(names: tuple[str, ...]) -> str:
    return "the tag" if len(names) == 1 else "the tags"
