"""Counts: gathered in memory, added up in the database, by hour and scope."""

import asyncio

import pytest
from django.db.models import Sum

from caching.figures import counts as stats
from caching.models import CacheEntry, CacheStat
from caching.scope import Origin
from caching.semantic import cache as semantic
from config import resources
from tenants.models import Tenant
from tests.caching.material import STATIC, answer, ask
from tests.caching.semantic.test_cache import ARRIVED, STILL, look

pytestmark = pytest.mark.usefixtures("orm_thread")


async def test_it_works(origin: Origin, tenant: Tenant) -> None:
    first = await look(ask(ARRIVED), origin)
    await semantic.remember(first, answer(), policy=STATIC)
    hit = await look(ask(STILL), origin)
    semantic.mark_hit(hit)
    semantic.bypass(tenant.pk, "header")
    await stats.flush()
    counted = {
        (row.outcome, row.reason): (row.count, bytes(row.scope_digest)) async for row in stats_of(tenant)
    }
    assert hit.scope is not None
    assert counted == {
        ("miss", "empty"): (1, b""),
        ("hit", ""): (1, hit.scope.digest),
        ("bypass", "header"): (1, b""),
    }
    entry = await CacheEntry.objects.aget(tenant=tenant)
    assert entry.hits == 1
    assert entry.last_hit_at > entry.created_at


async def test_counts_of_several_flushes_add_up(tenant: Tenant) -> None:
    for _ in range(3):
        stats.record(tenant.pk, cache="exact", outcome="hit")
        stats.record(tenant.pk, cache="exact", outcome="hit")
        await stats.flush()
    total = await CacheStat.objects.filter(tenant=tenant).aaggregate(total=Sum("count"))
    assert total == {"total": 6}


async def test_concurrent_flushes_lose_nothing(tenant: Tenant, outsider: Tenant) -> None:
    for _ in range(40):
        for owner in (tenant, outsider):
            stats.record(owner.pk, cache="exact", outcome="miss")
        await asyncio.gather(*(stats.flush() for _ in range(2)))
    for owner in (tenant, outsider):
        total = await CacheStat.objects.filter(tenant=owner).aaggregate(total=Sum("count"))
        assert total == {"total": 40}


async def test_a_tenant_that_is_gone_is_not_counted(tenant: Tenant) -> None:
    stats.record(tenant.pk + 1_000_000, cache="exact", outcome="hit")
    stats.record(tenant.pk, cache="exact", outcome="hit")
    await stats.flush()
    assert await stats_of(tenant).acount() == 1


async def test_counts_wait_while_the_database_is_away(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    from psycopg_pool import AsyncConnectionPool

    stats.record(tenant.pk, cache="exact", outcome="hit")
    async with AsyncConnectionPool(
        "postgresql://127.0.0.1:1/none", min_size=0, max_size=1, open=False, timeout=0.01
    ) as nowhere:
        monkeypatch.setattr(resources, "db", nowhere)
        await stats.flush()
        monkeypatch.undo()
    await stats.flush()
    assert (await stats_of(tenant).aget()).count == 1


def stats_of(tenant: Tenant):  # type: ignore[no-untyped-def]
    return CacheStat.objects.filter(tenant=tenant)
