"""The ledger summed by day (UTC): by period, all dimensions and certainty together, and along each dimension for pages of many
tenants. Triggers add the former up to the sums of each period along each dimension (`billing_keep_period_sums`).

A row is of one kind, so that what is paid besides usage can be told apart: `list_cost - saved_cost` is what usage is billed, and
rows of the kinds `correction`, `adjustment` and `credit` have only `billed_cost` (billing/ledger/measures.py).

Invariant: a bucket is a tenant's day. A record and its mark become visible together, and a mark is taken away
in the transaction that sums its day, so every record is summed by a rebuild that saw it; a rebuild can be
repeated or cut short at will.
"""

from django.db import connection, transaction

from billing.ledger import agent_hours
from billing.ledger.dimensions import DAILY
from billing.ledger.measures import (
    CALLS,
    ENTRIES,
    FURTHER_CALLS,
    LIST_USD,
    OWN_CALLS,
    REQUESTS,
    SAVED_USD,
    STEPS_USD,
    sure_ledger,
)

# One rebuild at a time: two that sum the same day at the same time would insert its rows twice.
LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('billing_rollups'))"

# Before a new partition has statistics the planner takes it for empty, and would compare each row of the day with each.
NO_NESTED_LOOP = "SET LOCAL enable_nestloop = off"

# A great day's groups fit.
ROOM = "SET LOCAL work_mem = '64MB'"

TAKE_MARKS = """
DELETE FROM billing_rollupdirty WHERE (tenant_id, day) IN (
    SELECT DISTINCT tenant_id, day FROM billing_rollupdirty ORDER BY day DESC, tenant_id LIMIT %(limit)s
) RETURNING tenant_id, day
"""

CLEAR = "DELETE FROM billing_usagedaily WHERE tenant_id = %(tenant)s AND day = %(day)s"

_DAY = """r.tenant_id = %(tenant)s
  AND r.occurred_at >= %(day)s::date::timestamp AT TIME ZONE 'UTC'
  AND r.occurred_at < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'"""
_TOKENS = (
    *("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens"),
    *("saved_input_tokens", "saved_output_tokens"),
)
_STEPS = ", ".join(f"'{step}', nullif({amount}, 0)::text" for step, amount in STEPS_USD.items())
_SUMS = {
    "records": "count(*)",
    "requests": REQUESTS,
    "calls": CALLS,
    "further_calls": FURTHER_CALLS,
    "own_calls": OWN_CALLS,
    **{name: f"sum(r.{name})" for name in _TOKENS},
    "list_cost": LIST_USD,
    **{name: f"sum(r.{name})" for name in ("provider_cost", "contracted_cost", "billed_cost")},
    "saved_cost": SAVED_USD,
    "saving": f"jsonb_strip_nulls(jsonb_build_object({_STEPS}))",
    "least_cost": "sum(bounds.least_usd)",
    "most_cost": "sum(bounds.most_usd)",
}
_GROUPS = {
    "tenant_id": "r.tenant_id",
    "period_id": "r.period_id",
    **{name: f"r.{name}" for name in DAILY},
    "certainty": "known.certainty",
}
REBUILD = f"""
INSERT INTO billing_usagedaily (day, {", ".join((*_GROUPS, *_SUMS))})
SELECT %(day)s, {", ".join((*_GROUPS.values(), *_SUMS.values()))}
FROM {sure_ledger(_DAY)}
WHERE {_DAY}
GROUP BY {", ".join(_GROUPS.values())}
"""

MOST_VALUES = 500  # of a dimension: a caller names its users and features itself

_TOKENS_OF_CALLS = ", ".join(_TOKENS[:4])
_SUMS_OF_TOKENS = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in _TOKENS[:4])
# what a price is of, as one value of small sums
PRICED = "concat_ws(chr(31), provider, model, processing)"

CLEAR_SUMS = "DELETE FROM billing_usagesum WHERE tenant_id = %(tenant)s AND day = %(day)s"

# From the sums above, in one pass; the dearest values have rows of their own.
REBUILD_SUMS = f"""
INSERT INTO billing_usagesum (
    tenant_id, day, dimension, value, is_rest, requests, hits, {_TOKENS_OF_CALLS}, list_cost, adjusted_cost,
    billed_cost, saving)
SELECT %(tenant)s, %(day)s, dimension, CASE WHEN place <= {MOST_VALUES} THEN value ELSE '' END, place > {MOST_VALUES},
    sum(requests), sum(hits), {_SUMS_OF_TOKENS}, sum(list_cost), sum(adjusted_cost), sum(billed_cost), '{{}}'
FROM (
    SELECT *, row_number() OVER (PARTITION BY dimension ORDER BY billed_cost DESC, requests DESC, value) AS place
    FROM (
        SELECT CASE WHEN grouping(provider, model) = 0 THEN 'priced'
                    WHEN grouping(model) = 0 THEN 'model' WHEN grouping(user_id) = 0 THEN 'user'
                    WHEN grouping(feature) = 0 THEN 'feature' WHEN grouping(key_id) = 0 THEN 'key'
                    WHEN grouping(tier) = 0 THEN 'tier' WHEN grouping(missing_tags) = 0 THEN 'missing'
                    WHEN grouping(cache_state) = 0 THEN 'cache' WHEN grouping(processing) = 0 THEN 'processing'
                    WHEN grouping(project) = 0 THEN 'project' WHEN grouping(cost_center) = 0 THEN 'team'
                    WHEN grouping(provider) = 0 THEN 'provider'
                    ELSE 'total' END AS dimension,
            coalesce(CASE WHEN grouping(provider, model) = 0 THEN {PRICED} END, model, user_id, feature, key_id::text, tier,
                     missing_tags, cache_state, processing, project, cost_center, provider, '') AS value,
            coalesce(sum(requests), 0) AS requests,
            coalesce(sum(requests) FILTER (WHERE usage_source = 'gateway_cache'), 0) AS hits,
            {_SUMS_OF_TOKENS},
            coalesce(sum(list_cost), 0) AS list_cost,
            coalesce(sum(billed_cost) FILTER (WHERE kind <> 'usage'), 0) AS adjusted_cost,
            coalesce(sum(billed_cost), 0) AS billed_cost
        FROM billing_usagedaily WHERE tenant_id = %(tenant)s AND day = %(day)s
        GROUP BY GROUPING SETS ((model), (user_id), (feature), (key_id), (tier), (missing_tags), (cache_state),
            (processing), (project), (cost_center), (provider), (provider, model, processing), ())) AS along) AS placed
GROUP BY dimension, CASE WHEN place <= {MOST_VALUES} THEN value ELSE '' END, place > {MOST_VALUES}
"""
# What each step took off the list price: our savings, and what is paid besides usage.
SUM_SAVINGS = f"""
UPDATE billing_usagesum SET saving = (
    SELECT coalesce(jsonb_object_agg(step, amount), '{{}}') FROM (
        SELECT step, sum(amount) AS amount FROM (
            SELECT saved.key AS step, saved.value::numeric AS amount
            FROM billing_usagedaily CROSS JOIN LATERAL jsonb_each_text(saving) AS saved
            WHERE tenant_id = %(tenant)s AND day = %(day)s
            UNION ALL
            SELECT entries.name, -billed_cost FROM billing_usagedaily
            JOIN (VALUES {", ".join(f"('{name}', '{kind}')" for name, kind in ENTRIES.items())}) AS entries (name, of_kind)
                ON of_kind = kind
            WHERE tenant_id = %(tenant)s AND day = %(day)s) AS amounts GROUP BY step) AS steps)
WHERE tenant_id = %(tenant)s AND day = %(day)s AND dimension = 'total'
"""


def rebuild_dirty(*, limit: int = 100) -> int:
    """Recompute up to `limit` dirty days, newest first, and return how many; 0 while another worker is at it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK)
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute(NO_NESTED_LOOP)
        cursor.execute(ROOM)
        cursor.execute(TAKE_MARKS, {"limit": limit})
        days = sorted(set(cursor.fetchall()))
        for tenant_id, day in days:
            for statement in (
                *(CLEAR, REBUILD, CLEAR_SUMS, REBUILD_SUMS, SUM_SAVINGS),
                *(agent_hours.CLEAR, agent_hours.REBUILD),
            ):
                cursor.execute(statement, {"tenant": tenant_id, "day": day})
    return len(days)
