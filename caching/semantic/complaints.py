"""Users' complaints: the answer is removed from the caches and counts as evidence against reusing similar ones.

Invariant: only the tenant's own entries are removed, and only those that the request was served or has stored. A
complaint can only make the cache more careful.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from caching.exact import store as exact
from caching.metrics import EVICTED, LABELS
from tenants.rls import tenant_connection

_FORGET = """
DELETE FROM caching_entry
WHERE tenant_id = %(tenant)s AND (id = %(entry)s OR request_id = ANY (%(requests)s::text[]))
RETURNING id, scope_digest
"""
_ADD_LABEL = """
INSERT INTO caching_label (tenant_id, scope_digest, entry_id, similarity, is_wrong, weight, source, verdict, at)
VALUES (%(tenant)s, %(scope)s, %(entry)s, %(similarity)s, true, 1, 'feedback', 'complaint', %(now)s)
"""
_COUNT_LABEL = """
UPDATE caching_scope SET labels = labels + 1, labels_since_update = labels_since_update + 1
WHERE tenant_id = %(tenant)s AND scope_digest = %(scope)s
"""


@dataclass(frozen=True, slots=True)
class Complaint:
    """How the caches were involved in the request, according to its receipt."""

    requests: tuple[str, ...]
    entry_id: int | None = None
    similarity: float | None = None
    exact_key: str = ""

    @classmethod
    def of(cls, receipt: Mapping[str, Any]) -> "Complaint":
        steps = {step["step"]: step for step in receipt.get("steps", ())}
        served = steps.get("served", {})
        return cls(
            # The request itself, and the request whose answer it got.
            requests=tuple(filter(None, (receipt.get("request_id"), served.get("answer_of_request")))),
            entry_id=served.get("entry_id"),
            similarity=served.get("similarity"),
            exact_key=steps.get("exact_cache", {}).get("key", ""),
        )


async def complain(tenant_id: int, complaint: Complaint) -> int:
    """Remove the entries that the complaint is about. Returns how many. Raises what the database raises."""
    parameters = {
        "tenant": tenant_id,
        "entry": complaint.entry_id,
        "requests": list(complaint.requests),
        "similarity": complaint.similarity,
        "now": datetime.now(UTC),
    }
    async with tenant_connection(tenant_id) as connection:
        cursor = await connection.execute(_FORGET, parameters)
        forgotten = dict(await cursor.fetchall())
        if (scope := forgotten.get(complaint.entry_id)) is not None:
            await connection.execute(_ADD_LABEL, parameters | {"scope": scope})
            await connection.execute(_COUNT_LABEL, parameters | {"scope": scope})
            LABELS.labels("feedback", "wrong").inc()
    EVICTED.labels("complaint").inc(len(forgotten))
    if complaint.exact_key:
        await exact.forget(tenant_id, complaint.exact_key)
    return len(forgotten)
