"""From what happened in some months to what was booked in them: why `/v1/usage` and a statement may differ.

Invariant: by time - booked later + of earlier months = booked. What is booked outside the month that it happened in is a row of
the class `Correction`, and nothing else is (`billing_period_gate`); few rows are, and they have an index of their own.
"""

from typing import Final

OF_PERIODS: Final = "r.tenant_id = %(tenant)s AND r.period_id = ANY(%(periods)s)"
RECONCILE: Final = """
SELECT coalesce(sum(r.billed_cost) FILTER (
           WHERE r.occurred_at >= %(starts_at)s AND r.occurred_at < %(ends_at)s AND r.period_id <> ALL (%(periods)s)), 0)
           AS booked_later_usd,
       coalesce(sum(r.billed_cost) FILTER (
           WHERE NOT (r.occurred_at >= %(starts_at)s AND r.occurred_at < %(ends_at)s) AND r.period_id = ANY (%(periods)s)), 0)
           AS of_earlier_months_usd
FROM billing_usagerecord AS r WHERE r.tenant_id = %(tenant)s AND r.charge_class = 'Correction'
"""
# The same with the sum by time, which reads all its rows. In one statement: while it runs, later rows are booked.
PROVE: Final = f"""
SELECT (SELECT coalesce(sum(r.billed_cost), 0) FROM billing_usagerecord AS r
        WHERE r.tenant_id = %(tenant)s AND r.occurred_at >= %(starts_at)s AND r.occurred_at < %(ends_at)s) AS by_time_usd,
       parts.* FROM ({RECONCILE}) AS parts
"""
