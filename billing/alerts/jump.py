"""Finds a sudden rise of what a tenant spends: the last minutes against the same hour of the last fourteen days.

Invariant: two weeks of spans are read only of tenants whose spend is not below the floors and is threshold times the usual of
this hour, the dearest first, at most MOST_JUDGED of them; `alerts.rises` judges. The dearest request of each span is
left out: one dear request is an alert of its own.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from django.db import connection

from billing.alerts.findings import Finding
from billing.alerts.rises import LEAST_DAYS, LENGTH, Calendar, Fortnight, Rise, calendar_of, rise_of
from billing.alerts.rules import RULES, parameters
from billing.alerts.spans import SPAN, floor
from tenants.models import Tenant

METRIC: Final = "spend_jump"
FLOOR_USD: Final = Decimal("0.10")
LEAST_REQUESTS: Final = 20
MOST_JUDGED: Final = 500
UNBOOKED: Final = 1  # minutes: what was asked in the last one is seldom answered and booked

JUMPS: Final = f"""
WITH recent AS (
    SELECT tenant_id, sum(billed_usd) AS spent, sum(billed_usd - dearest_usd) AS steady
    FROM billing_usagespan WHERE at >= %(since)s AND at < %(at)s
    GROUP BY tenant_id HAVING sum(billed_usd - dearest_usd) >= %(floor_usd)s AND sum(requests) >= %(least_requests)s)
SELECT r.tenant_id, r.rule_id, r.threshold, r.slug, r.timezone, n.spent, began.at, spans.*
FROM recent n
JOIN {RULES} r ON r.tenant_id = n.tenant_id
CROSS JOIN LATERAL (SELECT min(at) AS at FROM billing_usagespan WHERE tenant_id = n.tenant_id) began
CROSS JOIN LATERAL (
    SELECT count(*) AS days, count(*) FILTER (WHERE hour.usd > 0) AS busy_days,
           (sum(hour.usd) - max(hour.usd)) / nullif(count(*) - 1, 0) / 60 AS pace
    FROM unnest(%(zones)s::text[], %(lags)s::int[]) AS same (zone, lag)
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(billed_usd - dearest_usd), 0) AS usd FROM billing_usagespan
        WHERE tenant_id = n.tenant_id AND at >= %(span)s - (same.lag + 7) * interval '5 min'
          AND at < %(span)s - (same.lag - 5) * interval '5 min') hour
    WHERE same.zone = r.timezone AND %(span)s - same.lag * interval '5 min' >= began.at
) usual
CROSS JOIN LATERAL (
    SELECT array_agg((extract(epoch FROM %(span)s - at) / 300)::int) AS ago,
           array_agg((billed_usd - dearest_usd)::float8) AS usd, array_agg(requests) AS requests
    FROM billing_usagespan
    WHERE tenant_id = n.tenant_id AND at > %(span)s - {LENGTH} * interval '5 min' AND at <= %(span)s) spans
WHERE usual.days < %(least_days)s OR 2 * usual.busy_days <= usual.days OR n.steady / %(minutes)s >= r.threshold * usual.pace
ORDER BY n.spent DESC LIMIT %(most)s
"""


def find(*, at: datetime) -> list[Finding]:
    """The tenants whose spend jumps at a moment up to which the spans are complete."""
    span = floor(at)
    minutes = Decimal(int((at - span + SPAN).total_seconds())) / 60  # five to ten
    zones = [
        (name, lag)
        for name in Tenant.objects.order_by().values_list("timezone", flat=True).distinct()
        for lag in calendar_of(span, ZoneInfo(name)).alike
    ]
    asked: dict[str, Any] = {
        "at": at,
        "span": span,
        "since": span - SPAN,
        "minutes": minutes,
        "zones": [name for name, _ in zones],
        "lags": [lag for _, lag in zones],
        "floor_usd": FLOOR_USD,
        "least_requests": LEAST_REQUESTS,
        "least_days": LEAST_DAYS,
        "most": MOST_JUDGED,
    }
    with connection.cursor() as cursor:
        cursor.execute(JUMPS, {**asked, **parameters(METRIC)})
        rows = cursor.fetchall()
    found = []
    for tenant_id, rule_id, threshold, slug, timezone, spent, began, *spans in rows:
        known = (span - began) // SPAN + 1
        fortnight = fortnight_of(
            *spans, known=known, calendar=calendar_of(span, ZoneInfo(timezone)), minutes=minutes
        )
        if rise := rise_of(fortnight, threshold=float(threshold)):
            found.append(_finding(tenant_id, rule_id, threshold, slug, spent, rise, at=at, minutes=minutes))
    return found


def fortnight_of(
    ago: Iterable[int],
    usd: Iterable[float],
    requests: Iterable[int],
    *,
    known: int,
    calendar: Calendar,
    minutes: Decimal,
) -> Fortnight:
    """Spans that have a row, by how many spans ago they were, as a row of all of them."""
    sums = np.zeros((2, LENGTH))
    spans = LENGTH - 1 - np.fromiter(ago, dtype=int)
    sums[0, spans], sums[1, spans] = np.fromiter(usd, dtype=float), np.fromiter(requests, dtype=float)
    return Fortnight(sums[0], sums[1], calendar, known, float(minutes), float(minutes) - UNBOOKED)


def _finding(
    tenant_id: int, rule_id: int | None, threshold: Decimal, slug: str, spent: Decimal, rise: Rise, *, at: datetime,
    minutes: Decimal,
) -> Finding:  # fmt: skip
    message = (
        f"Tenant {slug} spent {spent:.4f} USD in {minutes:.0f} minutes, {rise.times:.1f} times the usual "
        f"{rise.usual_usd:.4f} USD of this hour"
    )
    return Finding(
        tenant_id, METRIC, "tenant", Decimal(str(round(rise.times, 2))), threshold, message, at, rule_id=rule_id,
        facts={"spent_usd": f"{spent:.6f}", "usual_usd": f"{rise.usual_usd:.6f}"},
    )  # fmt: skip
