"""Notifies the operators of what concerns the installation and no single tenant.

Invariant: an event without a tenant goes to the channels without one, once for its subject and window.
"""

from datetime import datetime
from decimal import Decimal

import structlog
from django.db import connection

from billing.models import AlertEvent

# The first of the tenants' events of a model's day is news to the operators, too.
FROM_TENANTS = """
INSERT INTO billing_alertevent (tenant_id, metric, subject_key, window_key, value, threshold, message, fired_at)
SELECT DISTINCT ON (subject_key, window_key) NULL::bigint, metric, subject_key, window_key, value, threshold, message, %(at)s
FROM billing_alertevent
WHERE metric = 'unpriced_usage' AND tenant_id IS NOT NULL AND fired_at > %(since)s
ORDER BY subject_key, window_key, id
ON CONFLICT DO NOTHING
"""

log = structlog.get_logger(__name__)


def notify_operators(
    metric: str,
    message: str,
    *,
    subject: str = "",
    window: str = "",
    value: Decimal = Decimal(0),
    threshold: Decimal = Decimal(0),
    link: str = "",
) -> None:
    """Write an event for the operators, unless they were notified of this subject and window before."""
    event = AlertEvent(
        tenant=None, metric=metric, subject_key=subject, window_key=window, value=value, threshold=threshold,
        message=message, link=link,
    )  # fmt: skip
    AlertEvent.objects.bulk_create([event], ignore_conflicts=True)
    log.warning("operators_notified", metric=metric, subject=subject, window=window, message=message)


def pass_on(*, at: datetime, since: datetime) -> None:
    """Notify the operators of the models without a price that tenants were recently notified of."""
    with connection.cursor() as cursor:
        cursor.execute(FROM_TENANTS, {"at": at, "since": since})
