"""Removes entries: by age, over the tenant's cap (least recently used first), or by an operator's purge.

Invariant: every statement is idempotent. Removing an entry can only cost a later miss.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from caching.entries.storing import DELETE_OVER_CAP
from caching.exact.store import tenant_pattern
from caching.figures.scopes import NOTE_THRESHOLDS
from caching.metrics import EVICTED
from caching.models import CacheEntry
from tenants.models import Tenant
from tenants.policy import parse_policy

BATCH = 5_000
# Scopes that have learnt nothing for this long are deleted with their labels.
_SCOPE_DAYS = 90

DELETE_EXPIRED = """
DELETE FROM caching_entry WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM caching_entry WHERE expires_at <= %(now)s LIMIT %(batch)s))
"""

_DELETE_OLD_LABELS = """
DELETE FROM caching_label WHERE at < %(before)s AND (tenant_id, scope_digest) IN (
    SELECT tenant_id, scope_digest FROM caching_scope WHERE updated_at < %(before)s)
"""
_DELETE_OLD_SCOPES = "DELETE FROM caching_scope s WHERE updated_at < %(before)s AND labels_since_update = 0"
_DELETE_OLD_COUNTS = "DELETE FROM caching_stat WHERE hour < %(before)s"

_DELETE_OLD_FIGURES = (
    "DELETE FROM caching_scopeday WHERE day < %(before)s",
    "DELETE FROM caching_thresholdpoint WHERE at < %(before)s",
)


def evict(*, now: datetime | None = None) -> int:
    """Remove expired entries and those over each tenant's cap. Returns how many. Owner's connection."""
    now = now or datetime.now(UTC)
    expired = 0
    while removed := _execute(DELETE_EXPIRED, {"now": now, "batch": BATCH}):
        expired += removed
    EVICTED.labels("expired").inc(expired)
    over_cap = 0
    tenants = Tenant.objects.filter(pk__in=CacheEntry.objects.values("tenant_id"))
    for tenant_id, policy in tenants.values_list("pk", "policy"):
        max_entries = parse_policy(policy).cache.max_entries
        over_cap += _execute(DELETE_OVER_CAP, {"tenant": tenant_id, "max_entries": max_entries})
    EVICTED.labels("over_cap").inc(over_cap)
    _execute(NOTE_THRESHOLDS, {})
    before = {"before": now - timedelta(days=_SCOPE_DAYS)}
    for statement in (_DELETE_OLD_LABELS, _DELETE_OLD_SCOPES, _DELETE_OLD_COUNTS, *_DELETE_OLD_FIGURES):
        _execute(statement, before)
    return expired + over_cap


def purge(
    tenant_id: int,
    *,
    model: str | None = None,
    prompt_version: str | None = None,
    older_than: timedelta | None = None,
    containing: str | None = None,
) -> int:
    """Remove a tenant's cached answers that match every given condition. Returns how many semantic entries.

    The exact cache cannot be searched by condition: all of the tenant's exact entries are removed as well.
    """
    entries = matching(
        tenant_id, model=model, prompt_version=prompt_version, older_than=older_than, containing=containing
    )
    removed, _ = entries.delete()
    EVICTED.labels("purged").inc(removed)
    _purge_exact(tenant_id)
    return removed


def matching(
    tenant_id: int,
    *,
    model: str | None = None,
    prompt_version: str | None = None,
    older_than: timedelta | None = None,
    containing: str | None = None,
) -> QuerySet[CacheEntry]:
    """The entries that a purge with these conditions would remove."""
    entries = CacheEntry.objects.filter(tenant_id=tenant_id)
    if model is not None:
        entries = entries.filter(model=model)
    if prompt_version is not None:
        entries = entries.filter(prompt_version=prompt_version)
    if older_than is not None:
        entries = entries.filter(created_at__lt=datetime.now(UTC) - older_than)
    if containing is not None:
        entries = entries.filter(question__icontains=containing)
    return entries


def _purge_exact(tenant_id: int) -> None:
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=2)
    try:
        keys = list(client.scan_iter(match=tenant_pattern(tenant_id), count=500))
        for start in range(0, len(keys), 500):
            client.unlink(*keys[start : start + 500])
    except redis.RedisError:
        # Redis is away and keeps nothing over a restart: the entries are gone.
        return
    finally:
        client.close()


def _execute(statement: str, parameters: Mapping[str, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)
