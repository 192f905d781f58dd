"""Watches what tenants spend over time: a day above its limit, an hour with a sudden rise.

Invariant: an event is written once per rule, threshold and day or hour (unique constraint), so checking more often
notifies nobody twice. Reads the ledger only; sync, run by Celery.
"""

from django.db import connection

# Spend of the tenant's own day so far, for each rule that asks for it.
DAY_SPEND = """
INSERT INTO billing_alertevent (
    tenant_id, rule_id, metric, subject_key, window_key, value, threshold, message, fired_at)
SELECT r.tenant_id, r.id, r.metric, 'tenant', to_char(now() AT TIME ZONE t.timezone, 'YYYY-MM-DD'), s.spent, r.threshold,
       format('Tenant %%s spent %%s USD today', t.slug, trim_scale(s.spent)), clock_timestamp()
FROM billing_alertrule r
JOIN tenants_tenant t ON t.id = r.tenant_id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(u.billed_cost), 0) AS spent FROM billing_usagerecord u
    WHERE u.tenant_id = r.tenant_id
      AND u.occurred_at >= date_trunc('day', now() AT TIME ZONE t.timezone) AT TIME ZONE t.timezone
) s
WHERE r.metric = 'day_spend' AND r.is_active AND s.spent >= r.threshold
ON CONFLICT DO NOTHING
"""

# Spend of the last full hour against the mean hour of the two weeks before, of those hours in which anything was spent.
# Fewer than a day's worth of such hours, or an hour below the floor, is no history to jump from.
SPEND_JUMP = """
INSERT INTO billing_alertevent (
    tenant_id, rule_id, metric, subject_key, window_key, value, threshold, message, fired_at)
SELECT r.tenant_id, r.id, r.metric, 'tenant', to_char(date_trunc('hour', now()), 'YYYY-MM-DD"T"HH24'),
       round(h.last_hour / h.usual, 2), r.threshold,
       format('Tenant %%s spent %%s USD in the last hour, %%s times the usual', t.slug, trim_scale(h.last_hour),
              round(h.last_hour / h.usual, 1)), clock_timestamp()
FROM billing_alertrule r
JOIN tenants_tenant t ON t.id = r.tenant_id
CROSS JOIN LATERAL (
    SELECT sum(spent) FILTER (WHERE is_last) AS last_hour, avg(spent) FILTER (WHERE NOT is_last) AS usual,
           count(*) FILTER (WHERE NOT is_last) AS hours
    FROM (
        SELECT sum(u.billed_cost) AS spent, u.occurred_at >= now() - interval '1 hour' AS is_last
        FROM billing_usagerecord u
        WHERE u.tenant_id = r.tenant_id AND u.occurred_at >= now() - interval '15 days'
        GROUP BY floor(extract(epoch FROM now() - u.occurred_at) / 3600), is_last
    ) by_hour
) h
WHERE r.metric = 'spend_jump' AND r.is_active AND h.hours >= %(least_hours)s AND h.usual > 0
  AND h.last_hour >= %(floor_usd)s AND h.last_hour >= r.threshold * h.usual
ON CONFLICT DO NOTHING
"""
LEAST_HOURS = 24
FLOOR_USD = "0.10"


def watch() -> int:
    """Write the events of rules whose threshold was passed; how many there were."""
    with connection.cursor() as cursor:
        cursor.execute(DAY_SPEND, {})
        days = cursor.rowcount
        cursor.execute(SPEND_JUMP, {"least_hours": LEAST_HOURS, "floor_usd": FLOOR_USD})
        return int(days + cursor.rowcount)
