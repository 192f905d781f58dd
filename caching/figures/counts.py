"""Counts look-ups: immediately for Prometheus, and in memory for the hourly table, which is flushed regularly.

Invariant: counting never waits and never fails a request. A crash loses at most FLUSH_SECONDS of counts. No money is
counted here.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Literal

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from caching.figures import scopes as scope_figures
from caching.metrics import LOOKUPS
from config import resources

Cache = Literal["exact", "semantic"]
LookupOutcome = Literal["hit", "miss", "bypass", "would_hit"]
FLUSH_SECONDS = 5.0
_MOST_SLOTS = 10_000

_ADD_COUNTS = """
SELECT caching_add_counts(
    %(tenants)s::bigint[], %(hours)s::timestamptz[], %(caches)s::text[], %(outcomes)s::text[],
    %(reasons)s::text[], %(scopes)s::bytea[], %(counts)s::bigint[])
"""
_TOUCH_ENTRIES = """
SELECT caching_touch_entries(%(tenants)s::bigint[], %(ids)s::bigint[], %(hits)s::integer[], %(at)s)
"""

_Slot = tuple[int, datetime, str, str, str, bytes]
_counts: Counter[_Slot] = Counter()
_hits: Counter[tuple[int, int]] = Counter()
log = structlog.get_logger("purser.cache")


def record(
    tenant_id: int, *, cache: Cache, outcome: LookupOutcome, reason: str = "", scope_digest: bytes = b""
) -> None:
    """Count one look-up. Pass `scope_digest` only where an entry was found: then unused scopes need no rows."""
    LOOKUPS.add(cache, outcome, reason)
    if len(_counts) < _MOST_SLOTS:
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        _counts[(tenant_id, hour, cache, outcome, reason, scope_digest)] += 1


def touch(tenant_id: int, entry_id: int) -> None:
    """Note that an entry was served: it counts as used and is evicted later."""
    if len(_hits) < _MOST_SLOTS:
        _hits[(tenant_id, entry_id)] += 1


async def flush() -> None:
    """Write the counts to the database. While the database is away they stay in memory."""
    counts, hits = dict(_counts), dict(_hits)
    if not counts and not hits:
        return
    _counts.clear()
    _hits.clear()
    try:
        async with resources.db.connection() as connection, connection.transaction():
            if counts:
                await connection.execute(_ADD_COUNTS, _count_columns(counts))
            if hits:
                # Sorted: two processes that update the same rows cannot deadlock.
                keys = sorted(hits)
                columns = {
                    "tenants": [tenant for tenant, _ in keys],
                    "ids": [entry for _, entry in keys],
                    "hits": [hits[key] for key in keys],
                    "at": datetime.now(UTC),
                }
                await connection.execute(_TOUCH_ENTRIES, columns)
    except (DatabaseError, PoolTimeout, OSError) as error:
        _counts.update(counts)
        _hits.update(hits)
        log.warning("cache counts wait", kind=type(error).__name__)


@resources.service
async def flush_loop() -> None:
    """Runs while the process serves, and once more at its end: flushes these counts and the scopes' figures."""
    try:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await flush()
            await scope_figures.flush()
    finally:
        await flush()
        await scope_figures.flush()


def _count_columns(counts: dict[_Slot, int]) -> dict[str, list[object]]:
    slots = list(counts)
    names = ("tenants", "hours", "caches", "outcomes", "reasons", "scopes")
    columns: dict[str, list[object]] = {
        name: [slot[index] for slot in slots] for index, name in enumerate(names)
    }
    columns["counts"] = [counts[slot] for slot in slots]
    return columns
