"""The ledger summed by day (UTC) and dimension, for lists and graphs.

Invariant: a bucket is a tenant's day; its mark, its old rows and its new rows change in one transaction, so a
rebuild can be repeated or cut short at will, and a finished day equals its ledger.
"""

from datetime import datetime

from django.db import connection, transaction
from django.utils.timezone import now

# A settlement that found its day marked already may commit just after we summed that day and took the mark
# away. The next settlement marks it again; and once the day has ended, it is summed one last time.
MARK_FINISHED = """
INSERT INTO billing_rollupdirty (tenant_id, day)
SELECT DISTINCT tenant_id, day FROM billing_usagedaily
WHERE day >= (%(at)s AT TIME ZONE 'UTC')::date - 7
  AND (day + 1)::timestamp AT TIME ZONE 'UTC' + interval '10 minutes' <= %(at)s
  AND refreshed_at < (day + 1)::timestamp AT TIME ZONE 'UTC' + interval '10 minutes'
ON CONFLICT DO NOTHING
"""

# Locked, not deleted: a settlement that marks the day meanwhile does not wait for us. SKIP LOCKED lets
# several workers share the marks.
TAKE_DIRTY = """
SELECT id, tenant_id, day FROM billing_rollupdirty ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""

UNMARK = "DELETE FROM billing_rollupdirty WHERE id = ANY(%(marks)s)"

CLEAR = "DELETE FROM billing_usagedaily WHERE (tenant_id, day) = (%(tenant)s, %(day)s)"

REBUILD = """
INSERT INTO billing_usagedaily (
    tenant_id, day, user_id, key_id, feature, cost_center, provider, model, processing, cache_state, requests,
    input_tokens, cache_read_tokens, cache_write_tokens, output_tokens,
    saved_input_tokens, saved_output_tokens,
    list_cost, provider_cost, billed_cost, refreshed_at)
SELECT tenant_id, %(day)s, user_id, key_id, feature, cost_center, provider, model, processing, cache_state,
    count(*) FILTER (WHERE kind = 'usage'),
    sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(output_tokens),
    sum(saved_input_tokens), sum(saved_output_tokens),
    sum(list_cost), sum(provider_cost), sum(billed_cost), statement_timestamp()
FROM billing_usagerecord
WHERE tenant_id = %(tenant)s
  AND occurred_at >= (%(day)s::date)::timestamp AT TIME ZONE 'UTC'
  AND occurred_at < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
GROUP BY tenant_id, user_id, key_id, feature, cost_center, provider, model, processing, cache_state
"""


def rebuild_dirty(*, limit: int = 100, at: datetime | None = None) -> int:
    """Recompute up to `limit` dirty days and return how many; call it again while it returns `limit`."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(MARK_FINISHED, {"at": at or now()})
        cursor.execute(TAKE_DIRTY, {"limit": limit})
        marks = cursor.fetchall()
        for _, tenant_id, day in marks:
            cursor.execute(CLEAR, {"tenant": tenant_id, "day": day})
            cursor.execute(REBUILD, {"tenant": tenant_id, "day": day})
        cursor.execute(UNMARK, {"marks": [mark for mark, _, _ in marks]})
    return len(marks)
