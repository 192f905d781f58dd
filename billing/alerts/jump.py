"""Finds a sudden rise of what a tenant spends: the last minutes against the same hour of the last fourteen days.

Invariant: a rise is a jump only if it is all of these: threshold times the usual pace of this hour, which is taken to be a
third of the pace of all hours at least; clearly more than the highest ten minutes at this hour cost, but for the one highest
day; not below a floor; and of several requests, the dearest of each span left out, because one dear request is an alert of its
own. Working days are compared with working days, weekends with weekends.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from billing.alerts.findings import Finding
from billing.alerts.rules import RULES, parameters
from billing.alerts.spans import SPAN, floor

METRIC: Final = "spend_jump"
FLOOR_USD: Final = Decimal("0.10")
LEAST_REQUESTS: Final = 20
# of the same kind; with fewer, every hour since the tenant began is compared with, of a day at least
LEAST_DAYS: Final = 3
LEAST_MINUTES: Final = 24 * 60
ABOVE_HIGHEST: Final = Decimal("1.75")
LEAST_OF_MEAN: Final = Decimal("0.3")

# Two weeks of spans are read only where the hour alone would not say no.
# `steady` is the spend without the dearest request of each span; paces are USD a minute, `two` and `highest` USD of two spans.
JUMPS: Final = f"""
WITH recent AS (
    SELECT tenant_id, sum(billed_usd) AS spent, sum(billed_usd - dearest_usd) AS steady
    FROM billing_usagespan WHERE at >= %(since)s AND at < %(at)s
    GROUP BY tenant_id HAVING sum(billed_usd - dearest_usd) >= %(floor_usd)s AND sum(requests) >= %(least_requests)s)
SELECT r.tenant_id, r.rule_id, r.threshold, r.slug, n.spent, n.steady / %(minutes)s / u.pace AS times,
       u.pace * %(minutes)s AS usual
FROM recent n
JOIN {RULES} r ON r.tenant_id = n.tenant_id
CROSS JOIN LATERAL (SELECT min(at) AS at FROM billing_usagespan WHERE tenant_id = n.tenant_id) began
CROSS JOIN LATERAL (
    SELECT count(*) AS days, percentile_disc(0.5) WITHIN GROUP (ORDER BY day.pace) AS pace,
           (array_agg(day.highest ORDER BY day.highest DESC))[2] AS highest
    FROM (SELECT (%(at)s AT TIME ZONE r.timezone) AS local) here
    CROSS JOIN generate_series(1, 14) AS ago
    CROSS JOIN LATERAL (SELECT (here.local - ago * interval '1 day') AT TIME ZONE r.timezone AS at) past
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(s.steady) FILTER (
                   WHERE s.at >= past.at - interval '35 min' AND s.at < past.at + interval '25 min'), 0) / 60 AS pace,
               coalesce(max(s.two), 0) AS highest
        FROM (SELECT at, billed_usd - dearest_usd AS steady,
                     sum(billed_usd - dearest_usd) OVER (
                        ORDER BY at RANGE BETWEEN interval '5 min' PRECEDING AND CURRENT ROW) AS two
              FROM billing_usagespan
              WHERE tenant_id = n.tenant_id AND at >= past.at - interval '65 min' AND at < past.at + interval '55 min') s) day
    WHERE past.at >= began.at
      AND (extract(isodow FROM here.local - ago * interval '1 day') > 5) = (extract(isodow FROM here.local) > 5)
) same
CROSS JOIN LATERAL (
    SELECT sum(s.steady) / greatest(extract(epoch FROM %(since)s - min(s.at)) / 60, 1) AS pace, max(s.two) AS highest,
           extract(epoch FROM %(since)s - min(s.at)) / 60 AS minutes
    FROM (SELECT at, billed_usd - dearest_usd AS steady,
                 sum(billed_usd - dearest_usd) OVER (
                    ORDER BY at RANGE BETWEEN interval '5 min' PRECEDING AND CURRENT ROW) AS two
          FROM billing_usagespan
          WHERE (same.days < %(least_days)s OR same.pace <= 0
                 OR n.steady / %(minutes)s >= r.threshold * same.pace AND n.steady >= %(above_highest)s * same.highest)
            AND tenant_id = n.tenant_id AND at >= %(at)s - interval '14 days' AND at < %(since)s) s
) every
CROSS JOIN LATERAL (
    SELECT CASE WHEN same.days >= %(least_days)s AND same.pace > 0
                THEN greatest(same.pace, %(least_of_mean)s * every.pace)
                WHEN every.minutes >= %(least_minutes)s AND every.pace > 0 THEN every.pace END AS pace,
           CASE WHEN same.days >= %(least_days)s THEN same.highest ELSE every.highest END AS highest) u
WHERE u.pace IS NOT NULL AND n.steady / %(minutes)s >= r.threshold * u.pace
  AND n.steady >= %(above_highest)s * u.highest
"""


def find(*, at: datetime) -> list[Finding]:
    """The tenants whose spend jumps at a moment up to which the spans are complete."""
    since = floor(at) - SPAN  # five to ten minutes before
    minutes = Decimal(int((at - since).total_seconds())) / 60
    asked: dict[str, Any] = {
        "at": at,
        "since": since,
        "minutes": minutes,
        "floor_usd": FLOOR_USD,
        "least_requests": LEAST_REQUESTS,
        "least_days": LEAST_DAYS,
        "least_minutes": LEAST_MINUTES,
        "above_highest": ABOVE_HIGHEST,
        "least_of_mean": LEAST_OF_MEAN,
    }
    with connection.cursor() as cursor:
        cursor.execute(JUMPS, {**asked, **parameters(METRIC)})
        return [_finding(row, at=at, minutes=minutes) for row in cursor.fetchall()]


def _finding(row: tuple[Any, ...], *, at: datetime, minutes: Decimal) -> Finding:
    tenant_id, rule_id, threshold, slug, spent, times, usual = row
    message = (
        f"Tenant {slug} spent {spent:.4f} USD in {minutes:.0f} minutes, {times:.1f} times the usual {usual:.4f} USD "
        f"of this hour"
    )
    return Finding(
        tenant_id, METRIC, "tenant", round(times, 2), threshold, message, at, rule_id=rule_id,
        facts={"spent_usd": f"{spent:.6f}", "usual_usd": f"{usual:.6f}"},
    )  # fmt: skip
