"""The ledger summed by day (UTC): by all dimensions together for lists and graphs, and along each for pages of many tenants.

Invariant: a bucket is a tenant's day. A record and its mark become visible together, and a mark is taken away
in the transaction that sums its day, so every record is summed by a rebuild that saw it; a rebuild can be
repeated or cut short at will.
"""

from django.db import connection, transaction

from billing.ledger import agent_hours
from billing.ledger.dimensions import DAILY
from billing.ledger.measures import ENTERED, REQUESTS, ledger

# One rebuild at a time: two that sum the same day at the same time would insert its rows twice.
LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('billing_rollups'))"

# Before a new partition has statistics the planner takes it for empty, and would compare each row of the day with each.
NO_NESTED_LOOP = "SET LOCAL enable_nestloop = off"

TAKE_MARKS = """
DELETE FROM billing_rollupdirty WHERE (tenant_id, day) IN (
    SELECT DISTINCT tenant_id, day FROM billing_rollupdirty ORDER BY day DESC, tenant_id LIMIT %(limit)s
) RETURNING tenant_id, day
"""

CLEAR = "DELETE FROM billing_usagedaily WHERE tenant_id = %(tenant)s AND day = %(day)s"

_DAY = """r.tenant_id = %(tenant)s
  AND r.occurred_at >= %(day)s::date::timestamp AT TIME ZONE 'UTC'
  AND r.occurred_at < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'"""
_SUMMED = (
    *(
        "input_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "output_tokens",
        "saved_input_tokens",
        "saved_output_tokens",
    ),
    *("list_cost", "provider_cost", "contracted_cost", "billed_cost"),
)
REBUILD = f"""
INSERT INTO billing_usagedaily (tenant_id, day, {", ".join(DAILY)}, requests, {", ".join(_SUMMED)})
SELECT r.tenant_id, %(day)s, {", ".join(f"r.{name}" for name in DAILY)}, {REQUESTS},
    {", ".join(f"sum(r.{name})" for name in _SUMMED)}
FROM {ledger(_DAY)}
WHERE {_DAY}
GROUP BY r.tenant_id, {", ".join(f"r.{name}" for name in DAILY)}
"""

MOST_VALUES = 500  # of a dimension: a caller names its users and features itself

CLEAR_SUMS = "DELETE FROM billing_usagesum WHERE tenant_id = %(tenant)s AND day = %(day)s"

# From the sums above, in one pass; the dearest values have rows of their own.
REBUILD_SUMS = f"""
INSERT INTO billing_usagesum (
    tenant_id, day, dimension, value, is_rest, requests, hits, list_cost, adjusted_cost, billed_cost, saving)
SELECT %(tenant)s, %(day)s, dimension, CASE WHEN place <= {MOST_VALUES} THEN value ELSE '' END, place > {MOST_VALUES},
    sum(requests), sum(hits), sum(list_cost), sum(adjusted_cost), sum(billed_cost), '{{}}'
FROM (
    SELECT *, row_number() OVER (PARTITION BY dimension ORDER BY billed_cost DESC, requests DESC, value) AS place
    FROM (
        SELECT CASE WHEN grouping(model) = 0 THEN 'model' WHEN grouping(user_id) = 0 THEN 'user'
                    WHEN grouping(feature) = 0 THEN 'feature' WHEN grouping(key_id) = 0 THEN 'key'
                    WHEN grouping(tier) = 0 THEN 'tier' ELSE 'total' END AS dimension,
            coalesce(model, user_id, feature, key_id::text, tier, '') AS value,
            coalesce(sum(requests), 0) AS requests,
            coalesce(sum(requests) FILTER (WHERE usage_source = 'gateway_cache'), 0) AS hits,
            coalesce(sum(list_cost) FILTER (WHERE NOT {ENTERED}), 0) AS list_cost,
            coalesce(sum(billed_cost) FILTER (WHERE {ENTERED}), 0) AS adjusted_cost,
            coalesce(sum(billed_cost), 0) AS billed_cost
        FROM billing_usagedaily WHERE tenant_id = %(tenant)s AND day = %(day)s
        GROUP BY GROUPING SETS ((model), (user_id), (feature), (key_id), (tier), ())) AS along) AS placed
GROUP BY dimension, CASE WHEN place <= {MOST_VALUES} THEN value ELSE '' END, place > {MOST_VALUES}
"""
SUM_SAVINGS = f"""
UPDATE billing_usagesum SET saving = (
    SELECT coalesce(jsonb_object_agg(kind, amount), '{{}}') FROM (
        SELECT kind.key AS kind, sum(kind.value::numeric) AS amount
        FROM billing_usagerecord AS r CROSS JOIN LATERAL jsonb_each_text(r.saving) AS kind WHERE {_DAY} GROUP BY 1) AS kinds)
WHERE tenant_id = %(tenant)s AND day = %(day)s AND dimension = 'total'
"""


def rebuild_dirty(*, limit: int = 100) -> int:
    """Recompute up to `limit` dirty days, newest first, and return how many; 0 while another worker is at it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK)
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute(NO_NESTED_LOOP)
        cursor.execute(TAKE_MARKS, {"limit": limit})
        days = sorted(set(cursor.fetchall()))
        for tenant_id, day in days:
            for statement in (
                *(CLEAR, REBUILD, CLEAR_SUMS, REBUILD_SUMS, SUM_SAVINGS),
                *(agent_hours.CLEAR, agent_hours.REBUILD),
            ):
                cursor.execute(statement, {"tenant": tenant_id, "day": day})
    return len(days)
