"""Builds snapshots from the database: the one place where the gateway uses the ORM.

Invariant: runs in a thread, not on the event loop, once per tenant and change; the catalog and the prices are
built once for all tenants and shared.
"""

from collections.abc import Iterator
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from django.db.models import Prefetch

from billing.budgets.windows import load_budgets
from billing.estimates.book import load_estimate_book
from billing.prices.book import load_price_book
from llm.catalog.catalog import Catalog
from llm.catalog.snapshot import TenantSnapshot
from llm.providers.kinds import KINDS
from llm.providers.target import ModelKind, Target
from tenants.snapshots.store import SnapshotCache, load_tenant_facts

if TYPE_CHECKING:
    from llm.models import Deployment, LanguageModel, Provider


def load_catalog() -> Catalog:
    """Every active model at its active accounts; where a model's own account is not active, its next one is its first.

    The others are off, at all the accounts that they had.
    """
    from llm.models import Deployment, LanguageModel  # noqa: PLC0415 the request path imports this module, and knows no ORM

    further = Deployment.objects.select_related("provider").order_by("provider__name")
    rows = list(
        LanguageModel.objects.select_related("provider").prefetch_related(
            Prefetch("deployments", queryset=further)
        )
    )
    active = {row.name: tuple(_accounts(row, only_active=True)) for row in rows if row.is_active}
    off = {row.name: tuple(_accounts(row, only_active=False)) for row in rows if not active.get(row.name)}
    return Catalog.of(active, off=off)


def _accounts(row: "LanguageModel", *, only_active: bool) -> Iterator[Target]:
    """The model at each of its accounts, its own first."""
    if row.provider.is_active or not only_active:
        yield target_at(row, row.provider)
    for further in row.deployments.all():
        if (further.is_active and further.provider.is_active) or not only_active:
            yield target_at(row, further.provider, further)


def target_at(row: "LanguageModel", account: "Provider", further: "Deployment | None" = None) -> Target:
    """A model at an account: its own, or the one of a deployment. Nothing else makes a Target of rows."""
    upstream, weight, timeouts = row.upstream, row.weight, row.timeouts
    if further is not None:
        upstream, weight = further.upstream or upstream, further.weight
        timeouts = timeouts | further.timeouts
    return Target(
        model=row.name,
        provider=account.name,
        kind=KINDS[account.kind],
        base_url=account.base_url.rstrip("/"),
        api_key=account.api_key,
        upstream=upstream,
        model_kind=cast(ModelKind, row.kind),
        tier=row.tier,
        context_window=row.context_window,
        max_output_tokens=row.max_output_tokens,
        capabilities=frozenset(row.capabilities),
        fallbacks=tuple(row.fallbacks),
        limits=MappingProxyType(dict(account.limits)),
        timeouts=MappingProxyType({**account.timeouts, **timeouts}),
        weight=weight,
        options=MappingProxyType(dict(account.options)),
        created_at=int(row.created_at.timestamp()),
        owner=account.tenant_id,
    )


def load_snapshot(tenant_id: int) -> TenantSnapshot:
    """Build one tenant's snapshot. Five queries or so; called in a thread."""
    tenant = load_tenant_facts(tenant_id)
    return TenantSnapshot(
        tenant=tenant,
        budgets=load_budgets(tenant_id),
        catalog=load_catalog().of_tenant(tenant_id, own_only=tenant.policy.own_accounts_only),
        prices=load_price_book(tenant_id),
        estimates=load_estimate_book(),
    )


snapshots: SnapshotCache[TenantSnapshot] = SnapshotCache(load_snapshot)
