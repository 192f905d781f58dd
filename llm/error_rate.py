"""Finds tenants whose requests fail: the watch of the alerts' metric `error_percent`.

Invariant: of a tenant with a rule the newest requests of a quarter of an hour are read, at most MOST_READ of them. A failure is
ours or a provider's (5xx); what was refused is none.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection

from billing.alerts.findings import Finding
from billing.alerts.rules import RULES, parameters

METRIC: Final = "error_percent"
LOOKED_AT: Final = timedelta(minutes=15)
LEAST_REQUESTS: Final = 20
MOST_READ: Final = 10_000

FAILING: Final = f"""
SELECT r.tenant_id, r.rule_id, r.threshold, r.slug, n.requests, n.failed, 100.0 * n.failed / n.requests
FROM {RULES} r
CROSS JOIN LATERAL (
    SELECT count(*) AS requests, count(*) FILTER (WHERE status >= 500) AS failed
    FROM (SELECT status FROM llm_requestlog
          WHERE tenant_id = r.tenant_id AND at >= %(since)s AND at < %(at)s ORDER BY at DESC LIMIT %(most)s) newest) n
WHERE n.failed > 0 AND n.requests >= %(least)s AND 100.0 * n.failed / n.requests >= r.threshold
"""


def find(*, at: datetime) -> list[Finding]:
    """The tenants whose requests fail."""
    asked: dict[str, Any] = {"since": at - LOOKED_AT, "at": at, "most": MOST_READ, "least": LEAST_REQUESTS}
    with connection.cursor() as cursor:
        cursor.execute(FAILING, {**asked, **parameters(METRIC)})
        rows = cursor.fetchall()
    return [
        Finding(
            tenant_id, METRIC, "tenant", round(percent, 1), threshold, rule_id=rule_id, at=at,
            message=f"{failed} of the last {requests} requests of {slug} failed ({percent:.1f} %) within 15 minutes",
            facts={"requests": requests, "failed": failed},
        )
        for tenant_id, rule_id, threshold, slug, requests, failed, percent in rows
    ]  # fmt: skip
