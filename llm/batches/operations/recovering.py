"""Ends the alerts on stuck batches when the batches go on, or are over.

Invariant: an alert on several batches ends when none of them is stuck any more, and each of them can be told of again.
"""

from datetime import datetime
from decimal import Decimal
from typing import Final

from django.db import transaction

from billing import incidents
from billing.models import AlertEvent, AlertRule
from llm.batches.operations import counting
from llm.models import BatchProgress

STUCK: Final = AlertRule.Metric.BATCH_STUCK
BATCHES: Final = "batches"  # the fact that names an alert's batches
MOST_BATCHES: Final = 500  # of one alert
MOST_ALERTS: Final = 200  # looked at in one round, the oldest first


@transaction.atomic
def resolve_over(*, now: datetime) -> int:
    """Resolve the alerts whose batches have all gone on; how many."""
    alerts = AlertEvent.objects.filter(metric=STUCK, resolved_at=None).order_by("pk")[:MOST_ALERTS]
    named = {alert.pk: list(alert.facts.get(BATCHES, ())) for alert in alerts}
    asked = {pk for batches in named.values() for pk in batches}
    rows = {
        row.pk: row for row in BatchProgress.objects.select_for_update().filter(pk__in=asked).order_by("pk")
    }
    done = 0
    for alert in alerts:
        batches = [rows[pk] for pk in named[alert.pk] if pk in rows]
        if named[alert.pk] and not any(_is_stuck(row, alert, now=now) for row in batches):
            over = all(row.batch_status not in counting.OPEN for row in batches)
            text = "the batch is over" if over else "the batch goes on"
            done += incidents.resolve(alert, acting_user=None, text=text)
            _forget(batches, alert)
    return done


def _is_stuck(row: BatchProgress, alert: AlertEvent, *, now: datetime) -> bool:
    """The operators' alert is about what the gateway knows to be wrong, a tenant's about time without progress."""
    if row.batch_status not in counting.OPEN:
        return False
    if alert.tenant_id is None:
        return bool(row.stuck)
    return bool(Decimal(int((now - row.progressed_at).total_seconds())) / 60 >= alert.threshold)


def _forget(rows: list[BatchProgress], alert: AlertEvent) -> None:
    """Let the next stop of these batches be told to whom this one was."""
    whose = "operators" if alert.tenant_id is None else alert.rule_id
    for row in rows:
        row.notified = [name for name in row.notified if not name.startswith(f"{STUCK}:{whose}:")]
    BatchProgress.objects.bulk_update(rows, ["notified"], batch_size=100)
