"""The watches over a tenant's spending, caches and holds. Each asks sums for every tenant at once and returns findings.

Invariant: a watch reads five-minute spans and open holds, never a month of the ledger, and changes nothing.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from billing.alerts.findings import Finding
from billing.alerts.metrics import with_unit
from billing.alerts.rules import RULES, parameters

DAY_SPEND: Final = f"""
SELECT r.tenant_id, r.rule_id, r.threshold, r.slug, s.spent, day.ends_at
FROM {RULES} r
CROSS JOIN LATERAL (
    SELECT date_trunc('day', %(at)s AT TIME ZONE r.timezone) AT TIME ZONE r.timezone AS starts_at,
           (date_trunc('day', %(at)s AT TIME ZONE r.timezone) + interval '1 day') AT TIME ZONE r.timezone AS ends_at) day
CROSS JOIN LATERAL (
    SELECT coalesce(sum(billed_usd), 0) AS spent FROM billing_usagespan
    WHERE tenant_id = r.tenant_id AND at >= day.starts_at AND at < %(at)s) s
WHERE s.spent > 0 AND s.spent >= r.threshold
"""

LEAST_ASKED: Final = 50  # requests of the last hour
LEAST_USUAL: Final = 200  # requests at the same hour of the last fourteen days
HIT_RATE: Final = f"""
SELECT r.tenant_id, r.rule_id, r.threshold, r.slug, n.percent, u.percent - n.percent AS fallen
FROM {RULES} r
CROSS JOIN LATERAL (
    SELECT sum(requests) AS requests, 100.0 * sum(hits) / nullif(sum(requests), 0) AS percent
    FROM billing_usagespan WHERE tenant_id = r.tenant_id AND at >= %(at)s - interval '1 hour' AND at < %(at)s) n
CROSS JOIN LATERAL (
    SELECT sum(s.requests) AS requests, 100.0 * sum(s.hits) / nullif(sum(s.requests), 0) AS percent
    FROM generate_series(1, 14) AS ago
    CROSS JOIN LATERAL (SELECT %(at)s - ago * interval '1 day' AS at) past
    JOIN billing_usagespan s ON s.tenant_id = r.tenant_id AND s.at >= past.at - interval '1 hour' AND s.at < past.at) u
WHERE n.requests >= %(least_asked)s AND u.requests >= %(least_usual)s AND u.percent - n.percent >= r.threshold
"""

# A batch holds for as long as it takes; its own alerts watch it.
HOLDS: Final = f"""
SELECT r.tenant_id, r.rule_id, r.threshold, r.slug, h.holds, h.usd, h.minutes
FROM (
    SELECT tenant_id, count(*) AS holds, sum(hold_usd) AS usd,
           extract(epoch FROM %(at)s - min(occurred_at))::numeric / 60 AS minutes
    FROM billing_attempt WHERE state IN ('held', 'sent') AND processing <> 'batch' GROUP BY tenant_id) h
JOIN {RULES} r ON r.tenant_id = h.tenant_id
WHERE h.minutes >= r.threshold
"""

# What should have been ended by itself: then the task that ends holds does not run.
FORGOTTEN_AFTER: Final = timedelta(minutes=15)
FORGOTTEN: Final = """
SELECT count(*), coalesce(sum(hold_usd), 0), extract(epoch FROM %(at)s - min(expires_at))::numeric / 60
FROM billing_attempt WHERE state IN ('held', 'sent') AND expires_at < %(before)s
"""


def day_spend(*, at: datetime) -> list[Finding]:
    """Days that have cost their threshold."""
    return [
        Finding(
            tenant_id, "day_spend", "tenant", spent, threshold, rule_id=rule_id, at=at, ends_at=ends_at,
            message=f"Tenant {slug} spent {spent:.4f} USD today, of {with_unit('day_spend', threshold)}",
        )
        for tenant_id, rule_id, threshold, slug, spent, ends_at in _ask(DAY_SPEND, "day_spend", at=at)
    ]  # fmt: skip


def hit_rate(*, at: datetime) -> list[Finding]:
    """Caches that answer less than they did."""
    rows = _ask(HIT_RATE, "hit_rate_drop", at=at, least_asked=LEAST_ASKED, least_usual=LEAST_USUAL)
    return [
        Finding(
            tenant_id, "hit_rate_drop", "tenant", round(fallen, 2), threshold, rule_id=rule_id, at=at,
            message=f"The caches of {slug} answered {percent:.1f} % of the last hour's requests, {fallen:.1f} points less than "
            "usual at this hour",
        )
        for tenant_id, rule_id, threshold, slug, percent, fallen in rows
    ]  # fmt: skip


def old_holds(*, at: datetime) -> list[Finding]:
    """Holds that nobody settled: the tenants' by their rules, and the operators' if the gateway itself forgot them."""
    found = [
        Finding(
            tenant_id, "hold_minutes", "tenant", round(minutes, 1), threshold, rule_id=rule_id, at=at,
            message=f"{holds} holds of {slug} ({usd:.4f} USD) are not settled; the oldest is {minutes:.0f} minutes old",
        )
        for tenant_id, rule_id, threshold, slug, holds, usd, minutes in _ask(HOLDS, "hold_minutes", at=at)
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(FORGOTTEN, {"at": at, "before": at - FORGOTTEN_AFTER})
        holds, usd, minutes = cursor.fetchone()
    if holds:
        message = (
            f"{holds} holds ({usd:.4f} USD) are past their end, the oldest for {minutes:.0f} minutes: nothing ends them. "
            "Look at the workers"
        )
        threshold = Decimal(FORGOTTEN_AFTER // timedelta(minutes=1))
        found.append(Finding(None, "hold_minutes", "forgotten", round(minutes, 1), threshold, message, at))
    return found


def _ask(query: str, metric: str, *, at: datetime, **asked: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, {"at": at, **asked, **parameters(metric)})
        return list(cursor.fetchall())
