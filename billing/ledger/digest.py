"""The fingerprint of a month: sha256 over every column of its rows and lines, day by day, chained.

Invariant: the same rows give the same digest under any settings of the server, and no column is left out: a row
changed, added or taken away changes the digest of its day, of its month, and of every month after.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC
from decimal import Decimal
from typing import Any

from django.db import connection

from billing.ledger.dimensions import DIMENSIONS

VERSION = "purser-ledger-1"
# How a statement's digests read its lines, and since the third the ledger's rows and lines: each by its own sha256.
LINES_AS_JSON, LINES_AS_TEXT, ROWS_BY_HASH = 1, 2, 3
NEWEST = ROWS_BY_HASH
FETCH = 500
ROWS_OF_A_PIECE = 10_000

# The formats that depend on the session are set, and the columns are named: one that is added to the table
# later is no part of what was closed before. PostgreSQL strings a minute's rows together, in order: a text of bounded
# size, and a sixtieth of the rows to read.
AS_TEXT = "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'"
RECORD_COLUMNS = (
    *(
        "id",
        "occurred_at",
        "recorded_at",
        "tenant_id",
        "period_id",
        "attempt_id",
        "seq",
        "kind",
        "usage_source",
    ),
    *(
        "charge_class",
        "corrects_id",
        "reason",
        "request_id",
        "user_id",
        "key_id",
        "feature",
        "project",
        "cost_center",
    ),
    *(
        "tags",
        "endpoint",
        "provider",
        "model",
        "model_asked",
        "tier",
        "cache_state",
        "service_tier",
        "processing",
    ),
    *("region", "upstream_id", "raw_usage", "input_tokens", "cache_read_tokens", "cache_write_tokens"),
    *(
        "output_tokens",
        "reasoning_tokens",
        "saved_input_tokens",
        "saved_output_tokens",
        "list_cost",
        "provider_cost",
    ),
    *("contracted_cost", "billed_cost", "saving", "price_status", "certainty", "reading"),
)
# A column that came later is part of the rows that have a value of it: so months that were closed before stay as they are.
LATER_COLUMNS = (
    *("session", "run", "agent", "parent_agent", "agent_type"),
    *(one.column for one in DIMENSIONS if one.column not in RECORD_COLUMNS),
)
RECORD = f"ROW({', '.join(f'r.{name}' for name in RECORD_COLUMNS)})"
RECORD_TEXT = " || ".join(
    (
        f"{RECORD}::text",
        *(
            f"CASE WHEN r.{name} = '' THEN '' ELSE ROW('{name}', r.{name})::text END"
            for name in LATER_COLUMNS
        ),
    )
)
RECORDS = f"""
SELECT date_trunc('minute', r.occurred_at) AS minute, count(*),
       string_agg({RECORD_TEXT} || E'\\n', '' ORDER BY r.occurred_at, r.id)
FROM billing_usagerecord r
WHERE r.tenant_id = %s AND r.period_id = %s
GROUP BY minute ORDER BY minute
"""
LINE_COLUMNS = """
l.record_id, l.line_no, l.occurred_at, l.tenant_id, l.meter, l.quantity, l.per, l.price_id, l.unit_price, l.list_cost,
l.provider_cost, l.contracted_cost, l.billed_cost"""
LINES = f"""
SELECT date_trunc('minute', l.occurred_at) AS minute, 0,
       string_agg(ROW({LINE_COLUMNS})::text || E'\\n', '' ORDER BY l.occurred_at, l.record_id, l.line_no)
FROM billing_usagerecord r JOIN billing_usageline l ON l.record_id = r.id AND l.occurred_at = r.occurred_at
WHERE r.tenant_id = %s AND r.period_id = %s
GROUP BY minute ORDER BY minute
"""
# The same with a sha256 for each row, of its values as PostgreSQL sends them: no setting changes that, and no text is made of
# them. A row is hashed before it is sorted, so that what is sorted and sent is small.
RECORD_BYTES = " || ".join(
    (
        f"record_send({RECORD})",
        *(
            f"CASE WHEN r.{name} = '' THEN ''::bytea ELSE record_send(ROW('{name}'::text, r.{name})) END"
            for name in LATER_COLUMNS
        ),
    )
)
_HASHES = """
SELECT date_trunc('minute', at) AS minute, sum(is_record), string_agg(hash, ''::bytea ORDER BY at, id, line_no)
FROM ({rows} WHERE r.tenant_id = %s AND r.period_id = %s OFFSET 0) AS hashed
GROUP BY minute ORDER BY minute
"""
RECORD_HASHES = _HASHES.format(
    rows=f"""SELECT r.occurred_at AS at, r.id, 0 AS line_no, 1 AS is_record, sha256({RECORD_BYTES}) AS hash
FROM billing_usagerecord r"""
)
LINE_HASHES = _HASHES.format(
    rows=f"""
SELECT l.occurred_at AS at, l.record_id AS id, l.line_no, 0 AS is_record, sha256(record_send(ROW({LINE_COLUMNS}))) AS hash
FROM billing_usagerecord r JOIN billing_usageline l ON l.record_id = r.id AND l.occurred_at = r.occurred_at"""
)


def day_digests(tenant_id: int, period_id: int, *, version: int) -> dict[str, dict[str, Any]]:
    """Per UTC day of the period's rows: the sha256 of their records, then of their lines, and how many records.

    Streams two queries; needs a transaction.
    """
    days: dict[str, tuple[Any, int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(AS_TEXT)
    for query in (RECORD_HASHES, LINE_HASHES) if version >= ROWS_BY_HASH else (RECORDS, LINES):
        with connection.chunked_cursor() as cursor:
            cursor.execute(query, (tenant_id, period_id))
            while rows := cursor.fetchmany(FETCH):
                for minute, count, found in rows:
                    day = minute.astimezone(UTC).date().isoformat()
                    digest, before = days.get(day) or (hashlib.sha256(), 0)
                    digest.update(found.encode() if isinstance(found, str) else found)
                    days[day] = digest, before + count
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


def text_digest(texts: Iterable[str], files: Mapping[str, str]) -> str:
    """sha256 over a statement's printed lines, as PostgreSQL writes them, and its sealed files' own digests."""
    digest = hashlib.sha256(VERSION.encode())
    for text in texts:
        digest.update(text.encode())
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
