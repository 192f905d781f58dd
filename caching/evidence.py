"""What the cache learns about itself: a label for each pair that could be judged, and each scope's
threshold from them.

Invariant: a threshold is always the one that its scope's last labels give for the tenant's bound; labels
are only added. Everything here runs beside the requests.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection

from caching.metrics import LABELS
from caching.scope import Scope
from caching.threshold import WINDOW, Label, find_threshold
from tenants.rls import tenant_connection

# New labels until a scope's threshold is found anew.
STEP = 25

_ADD_LABEL = """
INSERT INTO caching_label (
    tenant_id, scope_digest, entry_id, similarity, is_wrong, weight, source, verdict, at)
VALUES (
    %(tenant)s, %(scope)s, %(entry)s, %(similarity)s, %(is_wrong)s, %(weight)s, %(source)s, %(verdict)s,
    %(now)s)
"""

_COUNT_LABEL = """
INSERT INTO caching_scope (
    tenant_id, scope_digest, circle, endpoint, route, embedder, prompt_version, max_error_rate, labels,
    labels_since_update, created_at, updated_at)
VALUES (
    %(tenant)s, %(scope)s, %(circle)s, %(endpoint)s, %(route)s, %(embedder)s, %(prompt_version)s,
    %(max_error_rate)s, 1, 1, %(now)s, %(now)s)
ON CONFLICT (tenant_id, scope_digest) DO UPDATE
SET labels = caching_scope.labels + 1, labels_since_update = caching_scope.labels_since_update + 1
RETURNING labels_since_update, max_error_rate
"""

_WINDOW = """
SELECT similarity, is_wrong, weight FROM caching_label
WHERE tenant_id = %(tenant)s AND scope_digest = %(scope)s ORDER BY id DESC LIMIT %(window)s
"""

_SET_THRESHOLD = """
UPDATE caching_scope
SET threshold = %(threshold)s, error_rate = %(error_rate)s, error_rate_upper = %(upper)s,
    max_error_rate = %(max_error_rate)s, labels_since_update = 0, updated_at = %(now)s
WHERE tenant_id = %(tenant)s AND scope_digest = %(scope)s
"""


async def add_label(
    scope: Scope,
    *,
    entry_id: int,
    similarity: float,
    is_wrong: bool,
    weight: float,
    source: str,
    verdict: str,
    max_error_rate: float,
) -> None:
    """Write one label down, and find the scope's threshold anew when enough have come or the bound has
    changed.
    """
    parameters = {
        "tenant": scope.tenant_id,
        "scope": scope.digest,
        "circle": scope.origin.circle[:255],
        "endpoint": scope.origin.endpoint,
        "route": scope.origin.route[:255],
        "embedder": scope.embedder,
        "prompt_version": scope.origin.prompt_version,
        "entry": entry_id,
        "similarity": similarity,
        "is_wrong": is_wrong,
        "weight": weight,
        "source": source,
        "verdict": verdict,
        "max_error_rate": max_error_rate,
        "now": datetime.now(UTC),
    }
    async with tenant_connection(scope.tenant_id) as connection:
        await connection.execute(_ADD_LABEL, parameters)
        cursor = await connection.execute(_COUNT_LABEL, parameters)
        row = await cursor.fetchone()
        assert row is not None
        is_due = row[0] >= STEP or row[1] != max_error_rate
        labels = await _last_labels(connection, parameters) if is_due else []
    LABELS.labels(source, "wrong" if is_wrong else "right").inc()
    if is_due:
        await _set_threshold(labels, parameters)


async def _last_labels(connection: AsyncConnection[Any], parameters: dict[str, Any]) -> list[Label]:
    cursor = await connection.execute(_WINDOW, parameters | {"window": WINDOW})
    return [Label(*row) for row in await cursor.fetchall()]


async def _set_threshold(labels: list[Label], parameters: dict[str, Any]) -> None:
    found = await asyncio.to_thread(find_threshold, labels, max_error_rate=parameters["max_error_rate"])
    async with tenant_connection(parameters["tenant"]) as connection:
        await connection.execute(
            _SET_THRESHOLD,
            parameters
            | {
                "threshold": found.similarity,
                "error_rate": found.error_rate,
                "upper": found.error_rate_upper,
            },
        )
