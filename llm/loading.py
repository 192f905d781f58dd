"""Builds snapshots from the database: the one place where the gateway meets the ORM.

Invariant: runs in a thread beside the event loop, once per tenant and change; the catalog and the prices are
built once for all tenants and shared.
"""

from types import MappingProxyType
from typing import cast

from billing.budgets import load_budgets
from billing.estimate_book import load_estimate_book
from billing.prices import load_price_book
from llm.catalog import Catalog, Kind, ModelKind, Target
from llm.snapshot import TenantSnapshot
from tenants.snapshot import SnapshotCache, load_tenant_facts


def load_catalog() -> Catalog:
    """Every active model of every active provider."""
    from llm.models import LanguageModel

    rows = LanguageModel.objects.filter(is_active=True, provider__is_active=True).select_related("provider")
    return Catalog(
        MappingProxyType(
            {
                row.name: Target(
                    model=row.name,
                    provider=row.provider.name,
                    kind=cast(Kind, row.provider.kind),
                    base_url=row.provider.base_url.rstrip("/"),
                    api_key=row.provider.api_key,
                    upstream=row.upstream,
                    model_kind=cast(ModelKind, row.kind),
                    tier=row.tier,
                    context_window=row.context_window,
                    max_output_tokens=row.max_output_tokens,
                    capabilities=frozenset(row.capabilities),
                    fallbacks=tuple(row.fallbacks),
                    limits=MappingProxyType(dict(row.provider.limits)),
                    timeouts=MappingProxyType(dict(row.provider.timeouts)),
                    created_at=int(row.created_at.timestamp()),
                )
                for row in rows
            }
        )
    )


def load_snapshot(tenant_id: int) -> TenantSnapshot:
    """Build one tenant's snapshot. Five queries or so; called in a thread."""
    return TenantSnapshot(
        tenant=load_tenant_facts(tenant_id),
        budgets=load_budgets(tenant_id),
        catalog=load_catalog(),
        prices=load_price_book(tenant_id),
        estimates=load_estimate_book(),
    )


snapshots: SnapshotCache[TenantSnapshot] = SnapshotCache(load_snapshot)
