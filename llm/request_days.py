"""The log of requests, counted by day, outcome and latency: what pages read instead of the log.

Invariant: a tally is added to its day in the transaction that deletes it, so each request counts once however often this
runs. The whole installation's counts are rows of their own, so that they cost the same with a thousand tenants.
"""

from collections.abc import Mapping
from datetime import date
from typing import Final

from django.db import connection, transaction

# Buckets per factor of ten, as in `llm_bucket`: neighbours differ by a third. A quantile is found within its bucket.
PER_DECADE: Final = 8
LOCK: Final = "SELECT pg_try_advisory_xact_lock(hashtext('llm_request_days'))"
ADD: Final = """
WITH taken AS (
    DELETE FROM llm_requesttally WHERE id IN (SELECT id FROM llm_requesttally ORDER BY id LIMIT %(most)s)
    RETURNING tenant_id, day, provider, outcome, latency, first_token, requests),
measured AS (
    SELECT tenant_id, day, provider, outcome AS measure, latency AS bucket, requests FROM taken
    UNION ALL
    SELECT tenant_id, day, provider, 'first_token', first_token, requests FROM taken WHERE first_token IS NOT NULL),
added AS (
    INSERT INTO llm_requestday AS d (tenant_id, day, provider, measure, bucket, requests)
    SELECT whose.tenant_id, day, provider, measure, bucket, sum(requests)
    FROM measured
    CROSS JOIN LATERAL (
        SELECT NULL::bigint AS tenant_id
        UNION ALL SELECT measured.tenant_id WHERE measured.tenant_id IS NOT NULL) AS whose
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (tenant_id, day, provider, measure, bucket) DO UPDATE SET requests = d.requests + excluded.requests)
SELECT count(*) FROM taken
"""
PRUNE: Final = "DELETE FROM llm_requestday WHERE day < %(before)s"


def add_tallies(*, most: int = 50_000) -> int:
    """Add up to `most` tallies to their days, and return how many; 0 while another worker is at it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK)
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute(ADD, {"most": most})
        return int(cursor.fetchone()[0])


def prune_days(*, before: date) -> int:
    """Delete the days before one; how many rows."""
    with connection.cursor() as cursor:
        cursor.execute(PRUNE, {"before": before})
        return int(cursor.rowcount)


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """The milliseconds within which a share of the counted requests was answered; None if there are none."""
    whole = sum(counts.values())
    if not whole:
        return None
    wanted, below = share * whole, 0
    bucket = max(counts)
    for number in sorted(counts):
        if below + counts[number] >= wanted:
            bucket = number
            break
        below += counts[number]
    if bucket <= 0:
        return 1.0
    within = (wanted - below) / counts[bucket]
    return float(10 ** ((bucket - 1 + min(max(within, 0.0), 1.0)) / PER_DECADE))
