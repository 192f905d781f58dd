"""What rules about failing requests and batches would have found in the last thirty days: `billing.alerts.previews` asks it.

Invariant: of a tenant's requests the newest MOST_READ are read at most, and of its batches MOST_BATCHES.
"""

from typing import Any, Final

from django.db import connection

from billing.alerts.previews import Asked, Past, Seen, not_kept
from llm.batches.operations.alerting import failed_percent
from llm.error_rate import LEAST_REQUESTS, LOOKED_AT
from llm.models import BatchProgress

MOST_READ: Final = 200_000
MOST_BATCHES: Final = 2_000
FAILING: Final = """
SELECT quarter, count(*) AS requests, count(*) FILTER (WHERE status >= 500) AS failed
FROM (SELECT date_bin(%(looked_at)s, at, 'epoch') AS quarter, status FROM llm_requestlog
      WHERE tenant_id = %(tenant)s AND at >= %(since)s AND at < %(at)s ORDER BY at DESC LIMIT %(most)s) newest
GROUP BY quarter
"""


def _error_percent(asked: Asked) -> Seen:
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"since": asked.since, "at": asked.at, "most": MOST_READ}
        cursor.execute(FAILING, values | {"tenant": asked.tenant.pk, "looked_at": LOOKED_AT})
        rows = cursor.fetchall()
    told = [
        quarter
        for quarter, requests, failed in rows
        if failed and requests >= LEAST_REQUESTS and 100 * failed >= asked.threshold * requests
    ]
    read = sum(requests for _, requests, _ in rows)
    note = "In fixed quarters of an hour."
    if read >= MOST_READ:
        note += f" Of the newest {MOST_READ:,} requests, which began at {min(rows)[0]:%Y-%m-%d %H:%M} UTC."
    return Seen(told, note=note)


def _batch_failed_percent(asked: Asked) -> Seen:
    rows = BatchProgress.objects.select_related("batch").filter(
        tenant=asked.tenant, batch__created_at__gte=asked.since, batch__created_at__lt=asked.at
    )
    told = [
        row.progressed_at
        for row in rows.order_by("-batch__created_at")[:MOST_BATCHES]
        if not row.batch.is_gathered and (share := failed_percent(row)) and share >= asked.threshold
    ]
    return Seen(told, is_each_one=True)


PASTS: Final[dict[str, Past]] = {
    "error_percent": _error_percent,
    "batch_failed_percent": _batch_failed_percent,
    "batch_stuck_minutes": not_kept("For how long a batch stood still"),
}
