"""The figures of each scope, for the admin and Prometheus: savings of its hits, costs of checks, its threshold over time.

Invariant: counting never waits and never fails a request. A crash loses at most one flush of figures; the ledger has
the amounts anyway. The ledger is the truth; these figures only say which scope they came from.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from config import resources

READ_SECONDS = 30.0
# Prometheus gets the scopes with the most hits of the last thirty days; the admin shows them all.
MOST_SHOWN = 50
_MOST_SLOTS = 10_000

ADD = """
SELECT caching_add_scope_figures(%(tenants)s::bigint[], %(scopes)s::bytea[], %(days)s::date[], %(hits)s::bigint[],
    %(saved)s::numeric[], %(checks)s::bigint[], %(check_usd)s::numeric[])
"""
_READ = "SELECT * FROM caching_scope_figures(%s)"
# A point for each scope whose threshold was computed since its last point, if it differs. Owner's connection.
NOTE_THRESHOLDS = """
INSERT INTO caching_thresholdpoint (
    tenant_id, scope_digest, at, threshold, max_error_rate, error_rate, error_rate_upper, labels)
SELECT s.tenant_id, s.scope_digest, s.updated_at, s.threshold, s.max_error_rate, s.error_rate, s.error_rate_upper, s.labels
FROM caching_scope s
LEFT JOIN LATERAL (
    SELECT p.at, p.threshold, p.error_rate_upper FROM caching_thresholdpoint p
    WHERE p.tenant_id = s.tenant_id AND p.scope_digest = s.scope_digest ORDER BY p.at DESC LIMIT 1) last ON true
WHERE last.at IS NULL
   OR (s.updated_at > last.at
       AND (s.threshold, s.error_rate_upper) IS DISTINCT FROM (last.threshold, last.error_rate_upper))
ON CONFLICT DO NOTHING
"""


@dataclass(slots=True)
class _Sum:
    hits: int = 0
    saved_usd: Decimal = Decimal(0)
    checks: int = 0
    check_usd: Decimal = Decimal(0)


_sums: defaultdict[tuple[int, bytes, date], _Sum] = defaultdict(_Sum)
log = structlog.get_logger("purser.cache")


def note_hit(tenant_id: int, scope_digest: bytes, *, saved_usd: Decimal) -> None:
    """A semantic hit was served."""
    if (total := _sum_of(tenant_id, scope_digest)) is not None:
        total.hits += 1
        total.saved_usd += saved_usd


def note_check(tenant_id: int, scope_digest: bytes, *, cost_usd: Decimal) -> None:
    """A hit was also asked upstream, to check it."""
    if (total := _sum_of(tenant_id, scope_digest)) is not None:
        total.checks += 1
        total.check_usd += cost_usd


def note_judging(tenant_id: int, scope_digest: bytes, *, cost_usd: Decimal) -> None:
    """A judge compared two answers: its cost is part of the cost of checking."""
    if (total := _sum_of(tenant_id, scope_digest)) is not None:
        total.check_usd += cost_usd


async def flush() -> None:
    """Write the figures to the database (called by `counts`). While the database is away they stay in memory."""
    gathered = dict(_sums)
    if not gathered:
        return
    _sums.clear()
    keys = sorted(gathered)
    columns: dict[str, Any] = {
        "tenants": [key[0] for key in keys],
        "scopes": [key[1] for key in keys],
        "days": [key[2] for key in keys],
        "hits": [gathered[key].hits for key in keys],
        "saved": [gathered[key].saved_usd for key in keys],
        "checks": [gathered[key].checks for key in keys],
        "check_usd": [gathered[key].check_usd for key in keys],
    }
    try:
        async with resources.db.connection() as connection:
            await connection.execute(ADD, columns)
    except (DatabaseError, PoolTimeout, OSError) as error:
        for key, part in gathered.items():
            total = _sums[key]
            total.hits += part.hits
            total.saved_usd += part.saved_usd
            total.checks += part.checks
            total.check_usd += part.check_usd
        log.warning("cache figures wait", kind=type(error).__name__)


class ScopeCollector(Collector):
    """The figures of the scopes with the most hits, as last read from the database.

    The metrics do not name a scope's tenant. The admin shows the same digest with its tenant.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def collect(self) -> Iterable[Metric]:
        names = ("scope", "route")
        gauges = {
            "hits": "Semantic hits of the last 30 days",
            "saved_usd": "What they saved",
            "checks": "Hits of the last 30 days that were also asked upstream",
            "check_usd": "What these checks and the judging of answers cost",
            "threshold": "Certainty from which the scope serves; missing while it is closed",
            "error_rate": "Share of wrong hits, estimated",
            "error_rate_upper": "Its upper confidence bound",
            "noise_floor": "Lower bound of the share of wrong labels; missing while too few repeats are known",
        }
        for column, (name, text) in enumerate(gauges.items(), start=1 + len(names)):
            family = GaugeMetricFamily(f"purser_cache_scope_{name}", text, labels=names)
            for row in self.rows:
                if row[column] is not None:
                    family.add_metric([str(label) for label in row[1 : 1 + len(names)]], float(row[column]))
            yield family


collector = ScopeCollector()


async def read() -> None:
    """Read the figures for Prometheus."""
    async with resources.db.connection() as connection:
        cursor = await connection.execute(_READ, (MOST_SHOWN,))
        collector.rows = await cursor.fetchall()


@resources.service
async def refresh_loop() -> None:
    """Runs while the process serves: reads the figures regularly."""
    while True:
        try:
            await read()
        except (DatabaseError, PoolTimeout, OSError) as error:
            log.debug("cache figures cannot be read", kind=type(error).__name__)
        await asyncio.sleep(READ_SECONDS)


def _sum_of(tenant_id: int, scope_digest: bytes) -> _Sum | None:
    key = (tenant_id, scope_digest, datetime.now(UTC).date())
    return _sums[key] if key in _sums or len(_sums) < _MOST_SLOTS else None
