"""The fingerprint of a month: sha256 over every column of its rows and lines, day by day, chained.

Invariant: the same rows give the same digest whatever the server's settings, and no column is left out: a row
changed, added or taken away changes the digest of its day, of its month, and of every month after.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django.db import connection

VERSION = "purser-ledger-1"
FETCH = 5000

# One text for a row. jsonb prints numbers and text alike everywhere, numeric with its twelve places; times as
# microseconds, because their text depends on the session. Ordered by what cannot change.
CANONICAL_ROWS = """
SELECT (r.occurred_at AT TIME ZONE 'UTC')::date::text,
       ((to_jsonb(r) - 'occurred_at' - 'recorded_at') || jsonb_build_object(
           'occurred_at', (extract(epoch FROM r.occurred_at) * 1000000)::bigint,
           'recorded_at', (extract(epoch FROM r.recorded_at) * 1000000)::bigint,
           'lines', (SELECT jsonb_agg(to_jsonb(l) - 'occurred_at' - 'record_id' ORDER BY l.line_no)
                     FROM billing_usageline l
                     WHERE l.record_id = r.id AND l.occurred_at = r.occurred_at)))::text
FROM billing_usagerecord r
WHERE r.tenant_id = %s AND r.period_id = %s
ORDER BY r.occurred_at, r.id
"""


def day_digests(tenant_id: int, period_id: int) -> dict[str, dict[str, Any]]:
    """Per UTC day of the period's rows: their sha256 and count. Streams; needs a transaction."""
    days: dict[str, tuple[Any, int]] = {}
    with connection.chunked_cursor() as cursor:
        cursor.itersize = FETCH
        cursor.execute(CANONICAL_ROWS, (tenant_id, period_id))
        while rows := cursor.fetchmany(FETCH):
            for day, text in rows:
                digest, count = days.get(day) or (hashlib.sha256(), 0)
                digest.update(text.encode())
                digest.update(b"\n")
                days[day] = digest, count + 1
    return {
        day: {"sha256": digest.hexdigest(), "rows": count} for day, (digest, count) in sorted(days.items())
    }


def content_digest(lines: Iterable[tuple[object, ...]], files: Mapping[str, str]) -> str:
    """sha256 over a statement's printed lines and its files' own digests."""
    digest = hashlib.sha256(VERSION.encode())
    for line in lines:
        digest.update(_canonical([_plain(value) for value in line]))
    digest.update(_canonical(dict(files)))
    return digest.hexdigest()


def chained(previous_digest: str, facts: Mapping[str, Any]) -> str:
    """The digest of a month: of its facts and the digest of the statement before it."""
    return hashlib.sha256(_canonical({"version": VERSION, "previous": previous_digest, **facts})).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def _plain(value: object) -> object:
    # Stored and calculated amounts differ in trailing zeros, not in value.
    return f"{value:.12f}" if isinstance(value, Decimal) else value
