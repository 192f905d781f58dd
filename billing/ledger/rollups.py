"""The ledger summed by day (UTC) and dimension, for lists and graphs.

Invariant: a bucket is a tenant's day. A record and its mark become visible together, and a mark is taken away
in the transaction that sums its day, so every record is summed by a rebuild that saw it; a rebuild can be
repeated or cut short at will.
"""

from django.db import connection, transaction

from billing.ledger import agent_hours
from billing.ledger.dimensions import DAILY
from billing.ledger.measures import REQUESTS, ledger

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
            for statement in (CLEAR, REBUILD, agent_hours.CLEAR, agent_hours.REBUILD):
                cursor.execute(statement, {"tenant": tenant_id, "day": day})
    return len(days)
