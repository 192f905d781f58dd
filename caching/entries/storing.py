"""Writes the entries of the semantic cache, and keeps each tenant's number of entries within its cap.

Invariant: one entry per question of a scope. A later answer replaces the earlier one; the hits stay. The vouchers stay
only if the later answer came to one of them. Otherwise the asker of the later answer is the only voucher.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import orjson

from caching.answers import CachedAnswer
from caching.embedders.base import Vector
from caching.entries.search import literal
from caching.metrics import EVICTED
from caching.scope import AnswerScope, Asker
from tenants.policy import CachePolicy
from tenants.rls import tenant_connection

_STORE = """
INSERT INTO caching_entry AS e (
    tenant_id, scope_digest, question_digest, embedder, vector, question, answer, circle, endpoint, route,
    model, provider, prompt_version, usage, list_cost_usd, key_id, confirmed_by, vouchers, request_id, hits, created_at,
    last_hit_at, expires_at, answer_group)
VALUES (
    %(tenant)s, %(scope)s, %(question_digest)s, %(embedder)s, %(vector)s::halfvec, %(question)s, %(answer)s,
    %(circle)s, %(endpoint)s, %(route)s, %(model)s, %(provider)s, %(prompt_version)s, %(usage)s::jsonb,
    %(list_cost_usd)s, %(key_id)s, '{}', %(vouchers)s, %(request_id)s, 0, %(now)s, %(now)s, %(expires_at)s,
    %(group)s)
ON CONFLICT (tenant_id, scope_digest, question_digest) DO UPDATE
SET answer = excluded.answer, answer_group = excluded.answer_group,
    model = excluded.model, provider = excluded.provider, usage = excluded.usage,
    list_cost_usd = excluded.list_cost_usd, request_id = excluded.request_id,
    key_id = CASE WHEN excluded.vouchers && e.vouchers THEN e.key_id ELSE excluded.key_id END,
    confirmed_by = CASE WHEN excluded.vouchers && e.vouchers THEN e.confirmed_by ELSE '{}' END,
    vouchers = CASE WHEN excluded.vouchers && e.vouchers THEN e.vouchers ELSE excluded.vouchers END,
    created_at = excluded.created_at, last_hit_at = excluded.last_hit_at, expires_at = excluded.expires_at
"""

# More confirmations than this add nothing.
_MOST_CONFIRMATIONS = 100
_CONFIRM = """
UPDATE caching_entry SET vouchers = vouchers || %(voucher)s::bigint,
    confirmed_by = CASE WHEN %(key_id)s = ANY (key_id || confirmed_by) THEN confirmed_by
                        ELSE confirmed_by || %(key_id)s::bigint END
WHERE tenant_id = %(tenant)s AND id = %(id)s AND vouchers <> '{}' AND NOT %(voucher)s = ANY (vouchers)
  AND cardinality(vouchers) < %(most)s
"""

# The count reads only the index. Rows are read only if there are too many.
DELETE_OVER_CAP = """
DELETE FROM caching_entry WHERE tenant_id = %(tenant)s AND id IN (
    SELECT id FROM caching_entry WHERE tenant_id = %(tenant)s ORDER BY last_hit_at, id
    LIMIT (SELECT greatest(count(*) - %(max_entries)s, 0) FROM caching_entry WHERE tenant_id = %(tenant)s))
"""

_DELETE_ENTRY = "DELETE FROM caching_entry WHERE tenant_id = %(tenant)s AND id = %(id)s"


_stored_since_trim: Counter[int] = Counter()


async def store(
    scope: AnswerScope,
    *,
    vector: Vector,
    answer: CachedAnswer,
    packed: bytes,
    policy: CachePolicy,
    asker: Asker | None,
    group: bytes | None = None,
) -> None:
    """Store an answer, or replace the existing one. `group` is the group of entries with the same answer, if known."""
    row = _row(scope, vector, answer, packed, policy, asker) | {"group": group or group_of(answer.text)}
    async with tenant_connection(scope.tenant_id) as connection:
        await connection.execute(_STORE, row)


async def confirm(tenant_id: int, entry_id: int, *, asker: Asker) -> None:
    """Record that a provider gave another asker the same answer. Idempotent."""
    parameters = {
        "tenant": tenant_id,
        "id": entry_id,
        "key_id": asker.key_id,
        "voucher": asker.voucher,
        "most": _MOST_CONFIRMATIONS,
    }
    async with tenant_connection(tenant_id) as connection:
        await connection.execute(_CONFIRM, parameters)


async def delete(tenant_id: int, entry_id: int) -> bool:
    """Remove one entry. Returns whether it existed."""
    async with tenant_connection(tenant_id) as connection:
        cursor = await connection.execute(_DELETE_ENTRY, {"tenant": tenant_id, "id": entry_id})
    EVICTED.labels("forgotten").inc(cursor.rowcount)
    return cursor.rowcount > 0


def group_of(text: str) -> bytes:
    """The group that a new answer starts: the same for texts of the same words."""
    return blake2b(" ".join(text.lower().split()).encode(errors="replace"), digest_size=8).digest()


def trim_is_due(tenant_id: int, max_entries: int) -> bool:
    """Count one stored entry. True often enough that this process exceeds the cap by at most 2 %."""
    _stored_since_trim[tenant_id] += 1
    if _stored_since_trim[tenant_id] < max(1, min(500, max_entries // 50)):
        return False
    del _stored_since_trim[tenant_id]
    return True


async def trim(tenant_id: int, max_entries: int) -> int:
    """Remove the least recently used entries over the cap. Returns how many."""
    async with tenant_connection(tenant_id) as connection:
        cursor = await connection.execute(DELETE_OVER_CAP, {"tenant": tenant_id, "max_entries": max_entries})
    EVICTED.labels("over_cap").inc(cursor.rowcount)
    return cursor.rowcount


def _row(
    scope: AnswerScope,
    vector: Vector,
    answer: CachedAnswer,
    packed: bytes,
    policy: CachePolicy,
    asker: Asker | None,
) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "tenant": scope.tenant_id,
        "scope": scope.digest,
        "question_digest": blake2b(scope.question.encode(), digest_size=16).digest(),
        "embedder": scope.embedder,
        "vector": literal(vector),
        "question": scope.question.replace("\x00", ""),
        "answer": packed,
        "circle": scope.origin.circle[:255],
        "endpoint": scope.origin.endpoint,
        "route": scope.origin.route[:255],
        "model": answer.model[:128],
        "provider": answer.provider[:128],
        "prompt_version": scope.origin.prompt_version[:200],
        "usage": orjson.dumps(answer.usage).decode(),
        "list_cost_usd": answer.list_cost_usd,
        "key_id": asker.key_id if asker else None,
        "vouchers": [asker.voucher] if asker else [],
        "request_id": answer.request_id[:64],
        "now": now,
        "expires_at": now + timedelta(seconds=policy.ttl_seconds),
    }
